package kafka

// RecordOverhead is about what a record costs in memory beside its value
// while it is on its way through the async writer, in bytes: its slot, its
// message and sarama's encoded form of it. The agent's budget counts it.
const RecordOverhead = 256
