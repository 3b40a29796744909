"""Messages of the control plane; the generated ``.pyi`` beside this file types them."""

from trimtab.rpc.pb import classes

globals().update(classes("trimtab/control/v1/control.proto"))
