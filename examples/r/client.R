# Ask the model of serve.R about three handwritten digits. Only shares of an image leave this process, and only this
# process can put the answer together.
#
#     Rscript examples/r/client.R                 # the same ports as serve.R's

library(reticulate)

ports <- as.integer(commandArgs(trailingOnly = TRUE))
if (length(ports) != 3) ports <- 4000:4002

kp <- import("keras_private")
np <- import("numpy", convert = FALSE)

# Real images of MNIST's test set, scaled to [0, 1] as the model was trained.
mnist <- np$load(file.path("models", "mnist_sample.npz"))
images <- py_to_r(mnist["images"]) / 255
labels <- py_to_r(mnist["labels"])

# A worker without a host is a client. It knows the parties by their hosts alone.
client <- kp$TFEWorker()
workers <- lapply(paste0("localhost:", ports), function(host) kp$TFEWorker(host = host))
cluster <- do.call(kp$TFECluster, workers)
invisible(client$connect_to_model(c(1, 28, 28, 1), c(1, 10), cluster))

for (i in 1:3) {
  logits <- client$query_model(images[i, , , , drop = FALSE])
  predicted <- which.max(logits) - 1 # R counts from one
  cat(sprintf("Actual: %d, predicted: %d\n", labels[i], as.integer(predicted)))
}
