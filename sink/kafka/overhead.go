package kafka

// RecordOverhead is about what a record costs in memory beside its value
// while it waits in a lane, in bytes: its place in the queue, when records of one
// batch go to different partitions. What is in flight costs more, but a lane
// flies at most maxFlight records at a time.
const RecordOverhead = 24
