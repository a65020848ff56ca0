package kafka

import (
	"context"

	"logferry/internal/record"
)

// transport carries the records of one partition. It belongs to one goroutine.
type transport interface {
	// send hands over a flight of records, in order, and returns when each is
	// settled: acknowledged with its err nil, or not sent and never to be sent
	// again by the transport. What Kafka holds afterwards is a run of the
	// flight's records in their order. It returns ctx's error when ctx ends
	// first; then nothing is known and only close may follow.
	send(ctx context.Context, flight []item) error
	// close ends the transport and waits for its goroutines.
	close()
}

// item is one record of a flight.
type item struct {
	parcel *parcel
	rec    *record.Record
	err    error // set by send
}
