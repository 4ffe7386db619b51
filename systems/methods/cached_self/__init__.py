"""nano-vllm-moe's self-draft."""
