"""Messages of the Open Inference Protocol; the generated ``.pyi`` beside this file types them."""

from trimtab.rpc.pb import classes

globals().update(classes("open_inference/grpc_predict_v2.proto"))
