"""What people write who need a network behind HTTP: FastAPI, Pillow, torchvision. `inference.py` races with it."""

from __future__ import annotations

import base64
import io
from typing import Any

import torch
import torchvision
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel
from torchvision.transforms import v2

MEAN, STD, CLASSES = [0.4] * 3, [0.2] * 3, 10
PLAIN = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])

app = FastAPI()
network = torchvision.models.resnet18(num_classes=CLASSES).eval()


class Question(BaseModel):
    inputs: list[str]


@app.get("/ping")
def ping() -> dict[str, str]:
    return {}


@app.post("/invocations")
@torch.inference_mode()
def invocations(question: Question) -> dict[str, Any]:
    files = [io.BytesIO(base64.b64decode(text)) for text in question.inputs]
    found = network(torch.stack([PLAIN(Image.open(file).convert("RGB")) for file in files])).softmax(dim=1)
    return {"predictions": [{"label": int(row.argmax()), "probabilities": row.tolist()} for row in found]}
