"""Calls a Feast server with the stubs that the package `feast` ships; prints what it answers as one line of JSON a call."""

import importlib.util
import json
import os
import sys
import types

import grpc
from google.protobuf import json_format

# Feast's stubs alone: importing the package itself would load its whole SDK.
feast = types.ModuleType("feast")
feast.__path__ = [os.path.dirname(importlib.util.find_spec("feast").origin)]
sys.modules["feast"] = feast

from feast.protos.feast.serving import ServingService_pb2 as serving  # noqa: E402
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub  # noqa: E402

stub = ServingServiceStub(grpc.insecure_channel(sys.argv[1]))
for line in sys.stdin:
    call = json.loads(line)
    metadata = [("x-weft-scenario", call["scenario"])] if "scenario" in call else []
    try:
        if call["method"] == "GetFeastServingInfo":
            answer = stub.GetFeastServingInfo(serving.GetFeastServingInfoRequest(), timeout=10)
        else:
            request = json_format.ParseDict(call["request"], serving.GetOnlineFeaturesRequest())
            answer = stub.GetOnlineFeatures(request, timeout=10, metadata=metadata)
        print(json.dumps(json_format.MessageToDict(answer, preserving_proto_field_name=True)), flush=True)
    except grpc.RpcError as error:
        print(json.dumps({"code": error.code().name, "details": error.details()}), flush=True)
