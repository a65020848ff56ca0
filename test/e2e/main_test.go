// Package e2e runs the agent's binary as users run it, against real Apache
// Kafka and real etcd, and looks at what arrived.
package e2e

import (
	"testing"

	"logferry/test/agenttest"
	"logferry/test/etcdtest"
)

func TestMain(m *testing.M) { agenttest.Main(etcdtest.Settle(m)) }
