package kafka

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// causes remembers, for each partition, why sarama last sent a batch again:
// it says so nowhere but in its log.
var causes = &retryCauses{last: make(map[string]error)}

type retryCauses struct {
	mu   sync.Mutex
	last map[string]error
}

func causeKey(topic string, partition int32) string {
	return fmt.Sprintf("%s/%d", topic, partition)
}

// noteRetry picks the cause out of a line of sarama's log.
func noteRetry(format string, v []any) {
	if !strings.HasPrefix(format, "Retrying batch for") || len(v) != 3 {
		return
	}
	topic, ok1 := v[0].(string)
	partition, ok2 := v[1].(int32)
	err, ok3 := v[2].(error)
	if !slices.Contains([]bool{ok1, ok2, ok3}, false) {
		causes.mu.Lock()
		causes.last[causeKey(topic, partition)] = err
		causes.mu.Unlock()
	}
}

// take returns the newest cause and forgets it; nil when there is none.
func (r *retryCauses) take(topic string, partition int32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := causeKey(topic, partition)
	err := r.last[k]
	delete(r.last, k)
	return err
}
