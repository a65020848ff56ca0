// Package kafka ships batches to Apache Kafka through sarama.
//
// It promises that the records of one file reach their partition in file
// order, at least once, whatever fails on the way; that a partition in trouble
// holds up no other one; and that a record which Kafka will never take is set
// aside by itself, named and counted. With idempotence, an outage of a broker
// doubles nothing.
//
// The parts, in the order in which a record meets them: Sink routes batches
// (sink.go, partitioner.go) to outlets, one for each topic (outlet.go,
// topics.go), and these to lanes, one for each partition (lane.go). What
// sends a lane's records is the writer that Config.Producer names. batch makes
// record batches of them (batchlane.go, flight.go), encodes and compresses them
// outside of every lock (press.go, recordbatch.go, codec.go), and has several in
// the air (sender.go), over connections that sarama opens (link.go, produce.go).
// async sends one flight at a time (asynclane.go) through a
// transport (transport.go; async.go, on sarama's AsyncProducer). What comes back
// is dealt with alike (errors.go, deadletter.go). A cluster (cluster.go,
// laneclient.go) waits for leaders and topics, and ends all connections when
// there is no more time.
package kafka
