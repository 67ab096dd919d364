"""`keras-private doctor`: looks at everything that has to be right for one participant, and says what to do.

Theory of operation. Each check looks at one thing and returns *findings*; none stops another, so that all that is wrong
is listed at once. What depends on something that is wrong already is left out instead of being reported as wrong too.
Nothing is changed, and nothing is asked of a party that a participant of that role would not ask. A finding names
files, hosts and limits; it never holds what is in a key.
"""

from keras_private.doctor.examine import examine
from keras_private.doctor.finding import Finding, Level, exit_code

__all__ = ["Finding", "Level", "examine", "exit_code"]
