# Serve a Keras model privately, from R: this process owns the model, three local parties compute on shares of it.
#
#     Rscript examples/r/serve.R                 # the parties listen on ports 4000, 4001 and 4002
#     Rscript examples/r/serve.R 5000 5001 5002  # ... or on these
#
# It answers three queries and ends. The other half of the story is client.R.

Sys.setenv(TF_CPP_MIN_LOG_LEVEL = "2")
library(reticulate)

ports <- as.integer(commandArgs(trailingOnly = TRUE))
if (length(ports) != 3) ports <- 4000:4002

tf <- import("tensorflow")
kp <- import("keras_private")

model <- tf$keras$models$load_model(file.path("models", "mnist_cnn.keras"))

# Keras models can now be shared, served and stopped.
hook <- kp$KerasHook(tf$keras)

# Three workers, each with a share of the model that means nothing alone. `auto_managed`: start() runs the party here;
# without it, the party is started on its own host, by whoever runs that host.
hosts <- paste0("localhost:", ports)
alice <- kp$TFEWorker(host = hosts[1], auto_managed = TRUE)
bob <- kp$TFEWorker(host = hosts[2], auto_managed = TRUE)
carol <- kp$TFEWorker(host = hosts[3], auto_managed = TRUE)

cluster <- kp$TFECluster(alice, bob, carol)
invisible(cluster$start()) # R prints what a call returns; this returns the cluster

served <- tryCatch({
  model$share(cluster, input_range = c(0, 1))
  cat("Ready, serving three queries\n")
  model$serve(num_requests = 3L)
}, finally = {
  model$stop()
  cluster$stop()
})
cat(sprintf("Served %d queries and stopped\n", as.integer(served)))
