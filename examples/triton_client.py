"""Use Triton's client, unchanged, with a running daemon: goals travel as request parameters.

Run: pip install 'tritonclient[grpc]' && trimtab serve --tcp 127.0.0.1:8001 & python examples/triton_client.py
"""

import sys

import numpy as np
import tritonclient.grpc as triton


def main(address: str = "127.0.0.1:8001") -> None:
    """Send one random image and print the answer's parameters."""
    client = triton.InferenceServerClient(address)
    image = triton.InferInput("image", [1, 1, 28, 28], "FP32")
    image.set_data_from_numpy(np.random.default_rng(0).random((1, 1, 28, 28), dtype=np.float32))
    answer = client.infer("fashion", [image], parameters={"latency_budget_ms": 20, "min_accuracy": "0.9"})
    print("class", int(np.argmax(answer.as_numpy("logits"))))
    for name, value in sorted(answer.get_response().parameters.items()):
        print(f"  {name}: {getattr(value, value.WhichOneof('parameter_choice'))}")
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
