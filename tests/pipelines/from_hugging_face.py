"""Train a transformers network, export it with optimum, put a watermark in, verify it."""

import torch
from optimum.exporters.onnx import onnx_export_from_model
from transformers import BertConfig, BertForSequenceClassification

import nnw_onnx as nnw

config = BertConfig(
    vocab_size=100,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    max_position_embeddings=32,
)
torch.manual_seed(0)
model = BertForSequenceClassification(config)
words = torch.randint(100, (256, 16))
labels = (words[:, 0] < 50).long()
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
for _ in range(20):
    optimizer.zero_grad()
    model(input_ids=words, labels=labels).loss.backward()
    optimizer.step()

onnx_export_from_model(model.eval(), "exported", task="text-classification", do_validation=False)

marked = nnw.inject("exported/model.onnx", "mine, 2026", record=True)
print(nnw.verify(marked.network, marked.claim))

marked.network.save("released.onnx")
nnw.save_key(marked.claim, "key.npz")
