package kafka

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/IBM/sarama"
)

var (
	errStopped       = errors.New("the sink is closing")
	errPartitionGone = errors.New("the partition does not exist any more")
)

// kafkaNames gives the errors that are worth a name of their own in metrics.
var kafkaNames = map[sarama.KError]string{
	sarama.ErrUnknown:                            "unknown_server_error",
	sarama.ErrInvalidMessage:                     "corrupt_message",
	sarama.ErrUnknownTopicOrPartition:            "unknown_topic_or_partition",
	sarama.ErrLeaderNotAvailable:                 "leader_not_available",
	sarama.ErrNotLeaderForPartition:              "not_leader",
	sarama.ErrRequestTimedOut:                    "request_timed_out",
	sarama.ErrReplicaNotAvailable:                "replica_not_available",
	sarama.ErrMessageSizeTooLarge:                "message_too_large",
	sarama.ErrMessageSetSizeTooLarge:             "record_list_too_large",
	sarama.ErrInvalidTopic:                       "invalid_topic",
	sarama.ErrNotEnoughReplicas:                  "not_enough_replicas",
	sarama.ErrNotEnoughReplicasAfterAppend:       "not_enough_replicas_after_append",
	sarama.ErrTopicAuthorizationFailed:           "topic_authorization_failed",
	sarama.ErrClusterAuthorizationFailed:         "cluster_authorization_failed",
	sarama.ErrInvalidTimestamp:                   "invalid_timestamp",
	sarama.ErrSASLAuthenticationFailed:           "sasl_authentication_failed",
	sarama.ErrUnsupportedForMessageFormat:        "unsupported_for_message_format",
	sarama.ErrPolicyViolation:                    "policy_violation",
	sarama.ErrOutOfOrderSequenceNumber:           "out_of_order_sequence",
	sarama.ErrDuplicateSequenceNumber:            "duplicate_sequence",
	sarama.ErrInvalidProducerEpoch:               "invalid_producer_epoch",
	sarama.ErrInvalidProducerIDMapping:           "invalid_producer_id_mapping",
	sarama.ErrUnknownProducerID:                  "unknown_producer_id",
	sarama.ErrKafkaStorageError:                  "storage_error",
	sarama.ErrInvalidRecord:                      "invalid_record",
	sarama.ErrThrottlingQuotaExceeded:            "throttling_quota_exceeded",
	sarama.ErrTopicDeletionDisabled:              "topic_deletion_disabled",
	sarama.ErrTransactionalIDAuthorizationFailed: "transactional_id_authorization_failed",
}

// errorName names err for a metric label. The set of names is bounded.
func errorName(err error) string {
	var k sarama.KError
	var n net.Error
	var own *loginError
	var ours *tlsError
	switch {
	case errors.As(err, &own):
		return "login_not_possible"
	case errors.As(err, &ours):
		return "tls_failed"
	case errors.As(err, &k):
		if name, ok := kafkaNames[k]; ok {
			return name
		}
		return "other_kafka_error"
	case errors.Is(err, sarama.ErrOutOfBrokers):
		return "no_broker"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.As(err, &n) && n.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, sarama.ErrNotConnected),
		errors.Is(err, net.ErrClosed), errors.As(err, &n):
		return "connection_lost"
	}
	return "other"
}

// poison returns the cause for which Kafka will never take a record, or "" for
// an error that time may heal. Where a whole flight was refused, one of its
// records is to blame.
func poison(err error) string {
	var conf sarama.ConfigurationError
	var enc sarama.PacketEncodingError
	switch {
	case err == nil, errors.Is(err, errStopped), errors.Is(err, errPartitionGone):
		return ""
	case errors.Is(err, sarama.ErrMessageSizeTooLarge), errors.Is(err, sarama.ErrMessageSetSizeTooLarge), errors.Is(err, errTooLarge):
		return "too_large"
	case errors.Is(err, sarama.ErrInvalidRecord):
		return "invalid_record"
	case errors.Is(err, sarama.ErrInvalidTimestamp):
		return "invalid_timestamp"
	case errors.As(err, &enc):
		return "encoding"
	case errors.As(err, &conf) && strings.Contains(string(conf), "larger than configured"):
		return "too_large"
	}
	return ""
}

// errTooLarge marks a record that is larger than max_message_bytes.
var errTooLarge = errors.New("the record is larger than max_message_bytes")

// spoilsProducer reports whether a producer that met err cannot go on: the
// broker has lost, or refuses, its identity.
func spoilsProducer(err error) bool {
	for _, e := range []error{
		sarama.ErrOutOfOrderSequenceNumber, sarama.ErrInvalidProducerEpoch, sarama.ErrInvalidProducerIDMapping,
		sarama.ErrUnknownProducerID, sarama.ErrProducerFenced, sarama.ErrClusterAuthorizationFailed,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// explain turns err into one line that says what to do. dial is what the
// newest connection attempt said.
func explain(err, dial error, topic string, cfg Config) error {
	at := strings.Join(cfg.Brokers, ", ")
	if trouble := accessTrouble(err, cfg); trouble != nil {
		return trouble
	}
	if dial != nil && errors.Is(err, sarama.ErrOutOfBrokers) {
		if trouble := accessTrouble(dial, cfg); trouble != nil {
			return trouble
		}
	}
	switch {
	case errors.Is(err, sarama.ErrOutOfBrokers), errorName(err) == "connection_refused":
		hint := ""
		if cause := outOfBrokers(err); dial != nil {
			err = dial
		} else if cause != nil {
			err = cause
			if errorName(cause) == "connection_lost" {
				hint = closedHint(cfg)
			}
		}
		return fmt.Errorf("no broker of %s can be reached: %w; start Kafka, or correct brokers%s", at, oneLine(err), hint)
	case errors.Is(err, sarama.ErrUnknownTopicOrPartition):
		return fmt.Errorf("topic %q does not exist; create it or set create_topics", topic)
	case errors.Is(err, errPartitionGone):
		return fmt.Errorf("topic %q has no such partition; choose another one or add partitions to the topic", topic)
	case errors.Is(err, sarama.ErrTopicAuthorizationFailed):
		return fmt.Errorf("writing to topic %q is not allowed; grant Write and Describe on it: %w", topic, oneLine(err))
	case errors.Is(err, sarama.ErrClusterAuthorizationFailed):
		return fmt.Errorf("producing is not allowed; grant Write and Describe on topic %q (brokers before 2.8 also want IdempotentWrite on the cluster, or idempotent: false): %w", topic, oneLine(err))
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed):
		return fmt.Errorf("the login was refused; correct the user and its password: %w", oneLine(err))
	case errors.Is(err, sarama.ErrInvalidTopic):
		return fmt.Errorf("topic %q is not a valid name; correct it: %w", topic, oneLine(err))
	case errors.Is(err, sarama.ErrNotEnoughReplicas), errors.Is(err, sarama.ErrNotEnoughReplicasAfterAppend):
		return fmt.Errorf("topic %q has too few replicas in sync; start the missing brokers, or lower min.insync.replicas: %w", topic, oneLine(err))
	case errors.Is(err, sarama.ErrLeaderNotAvailable), errors.Is(err, sarama.ErrNotLeaderForPartition):
		return fmt.Errorf("topic %q has a partition without a leader; see that its brokers run: %w", topic, oneLine(err))
	}
	switch errorName(err) {
	case "timeout":
		return fmt.Errorf("the connection to a broker of %s fails: %w; see that it runs and is not overloaded", at, oneLine(err))
	case "connection_lost":
		return fmt.Errorf("the connection to a broker of %s fails: %w; see that it runs and is not overloaded%s", at, oneLine(err), closedHint(cfg))
	}
	return fmt.Errorf("producing to topic %q fails: %w; see the broker's log", topic, oneLine(err))
}

// outOfBrokers is why each broker was of no use, as far as sarama tells.
func outOfBrokers(err error) error {
	if !errors.Is(err, sarama.ErrOutOfBrokers) {
		return nil
	}
	return errors.Unwrap(err)
}

// oneLine keeps err but prints it without line breaks.
func oneLine(err error) error {
	if strings.ContainsAny(err.Error(), "\r\n") {
		return &flatError{err}
	}
	return err
}

type flatError struct{ error }

func (e *flatError) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e *flatError) Unwrap() error { return e.error }

// Refusal names the cause for which Kafka will never take a record; it is empty
// for an error that time may heal, and for none.
func Refusal(err error) string { return poison(err) }
