"""What one machine can show of prediction on many: faults, memory, throughput, and a model of the cost."""
