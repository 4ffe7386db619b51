"""What figures are drawn with: records to read, scales, labels, colours, and the picture itself."""
