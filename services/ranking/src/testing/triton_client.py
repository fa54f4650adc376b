"""Calls a ranking server with Triton's own client; prints what it saw as one JSON object."""

import json
import queue
import sys

import numpy
import tritonclient.grpc as triton


def main(address: str, release: str) -> None:
    client = triton.InferenceServerClient(address)
    headers = {"x-weft-release": release}
    rows = numpy.array([[1, 2, 3], [0, 0, 0.5]], dtype=numpy.float32)
    tensor = triton.InferInput("features", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    result = client.infer(
        "model", [tensor], outputs=[triton.InferRequestedOutput("score")], request_id="r1", client_timeout=10
    )
    pinned = client.infer("model", [tensor], headers=headers)
    faults = []
    for name, datatype, data in [
        ("features", "FP32", numpy.zeros((1, 4), numpy.float32)),
        ("features", "FP64", numpy.zeros((1, 3), numpy.float64)),
        ("other", "FP32", numpy.zeros((1, 3), numpy.float32)),
    ]:
        wrong = triton.InferInput(name, list(data.shape), datatype)
        wrong.set_data_from_numpy(data)
        try:
            client.infer("model", [wrong])
        except triton.InferenceServerException as error:
            faults.append([error.status(), error.message()])
    answers = queue.Queue()
    for _ in range(200):
        client.async_infer("model", [tensor], lambda result, error: answers.put(error))
    failed = sum(answers.get(timeout=30) is not None for _ in range(200))
    metadata = client.get_model_metadata("model")
    print(
        json.dumps(
            {
                "live": client.is_server_live(),
                "ready": client.is_server_ready(),
                "model_ready": [client.is_model_ready("model"), client.is_model_ready("model", "9")],
                "server": client.get_server_metadata().name,
                "platform": metadata.platform,
                "versions": list(metadata.versions),
                "inputs": [[tensor.name, tensor.datatype, list(tensor.shape)] for tensor in metadata.inputs],
                "scores": result.as_numpy("score").tolist(),
                "version": result.get_response().model_version,
                "id": result.get_response().id,
                "pinned": [pinned.get_response().model_version, pinned.as_numpy("score").tolist()],
                "faults": faults,
                "failed": failed,
            }
        )
    )


main(*sys.argv[1:])
