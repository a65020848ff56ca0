// Package kafka ships batches to Apache Kafka through sarama.
//
// It promises that the records of one file reach their partition in file
// order, at least once, whatever fails on the way; that a partition in trouble
// holds up no other one; and that a record which Kafka will never take is set
// aside by itself, named and counted. With idempotence, an outage of a broker
// doubles nothing.
//
// The parts, in the order in which a record meets them: Sink routes batches
// (sink.go, partitioner.go) to lanes, one for each partition (lane.go); a lane
// sends its records in flights, one at a time, through a transport
// (transport.go; async.go, on sarama's AsyncProducer) and deals with what comes
// back (errors.go, deadletter.go). A cluster (cluster.go, laneclient.go) waits
// for leaders and topics, and ends all connections when there is no more time.
package kafka
