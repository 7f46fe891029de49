"""Tiny networks with random weights, as ``save_pretrained`` writes them: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path


def rt_detr(folder: Path, side: int = 64) -> Path:
    """An RT-DETR of few channels, for images of ``side`` pixels, with 80 categories as one that COCO taught."""
    import torch
    from transformers import (
        RTDetrConfig,
        RTDetrForObjectDetection,
        RTDetrImageProcessor,
        RTDetrResNetConfig,
    )

    backbone = RTDetrResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        freeze_backbone_batch_norms=False,  # nothing was learnt that would be worth keeping
        encoder_in_channels=[24, 32, 48],
        encoder_hidden_dim=32,
        encoder_ffn_dim=64,
        encoder_attention_heads=4,
        decoder_in_channels=[32, 32, 32],
        d_model=32,
        decoder_ffn_dim=64,
        decoder_attention_heads=4,
        decoder_layers=2,
        num_queries=30,
        num_denoising=10,
        num_labels=80,
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        RTDetrForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    return folder


def classifier(folder: Path, side: int = 32) -> Path:
    """A ResNet of few channels with 1000 categories."""
    import torch
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], layer_type="basic", num_labels=1000
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        ResNetForImageClassification(config).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": side}).save_pretrained(folder)
    return folder


def detr(folder: Path, side: int = 64) -> Path:
    """A DETR of few channels, which says with a class of its own that there is nothing."""
    import torch
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    config = DetrConfig(
        backbone_config=backbone,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_queries=10,
        num_labels=91,
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        DetrForObjectDetection(config).save_pretrained(folder)
    DetrImageProcessor(size={"shortest_edge": side, "longest_edge": side}).save_pretrained(folder)
    return folder
