// Package arrows checks the direction of imports that docs/architecture.md
// promises: cmd → agent → {collector, sink} → internal/record, and who may
// speak to Kafka and etcd.
package arrows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rule forbids packages below any of from to import one below any of to.
type rule struct {
	from, to []string
	except   []string // packages below from that may
	why      string
}

var rules = []rule{
	{from: []string{"logferry/internal/record"}, to: []string{"logferry"}, why: "record is the value that flows: it knows no room"},
	{from: []string{"logferry/collector"}, to: []string{"logferry/agent", "logferry/sink", "logferry/cmd"}, why: "the collector knows neither tasks nor sinks"},
	{from: []string{"logferry/sink"}, to: []string{"logferry/agent", "logferry/collector", "logferry/cmd"}, why: "a sink knows neither tasks nor files"},
	{from: []string{"logferry/agent", "logferry/internal"}, to: []string{"logferry/cmd"}, why: "nothing imports a command"},
	{from: []string{"logferry/agent/task"}, to: []string{"logferry/agent", "logferry/collector", "logferry/sink"}, why: "a task is plain data"},
	{from: []string{"logferry/cmd", "logferry/agent", "logferry/collector", "logferry/sink", "logferry/internal"}, except: []string{"logferry/sink/kafka"},
		to: []string{"github.com/IBM/sarama"}, why: "only sink/kafka speaks to Kafka"},
	{from: []string{"logferry/cmd", "logferry/agent", "logferry/collector", "logferry/sink", "logferry/internal"},
		except: []string{"logferry/agent/etcdsource", "logferry/cmd/sandbox"}, to: []string{"go.etcd.io/etcd/client"}, why: "only agent/etcdsource speaks to etcd"},
	{from: []string{"logferry/cmd", "logferry/agent", "logferry/collector", "logferry/sink", "logferry/internal"}, except: []string{"logferry/cmd/sandbox"},
		to: []string{"go.etcd.io/etcd/server", "github.com/twmb/franz-go", "logferry/test", "logferry/bench", "testing"}, why: "the agent's binary stays lean"},
	{from: []string{"logferry/cmd", "logferry/agent", "logferry/collector", "logferry/sink", "logferry/internal"},
		except: []string{"logferry/collector/pipe"}, to: []string{"github.com/nxadm/tail"}, why: "files are read by blocks; only named pipes are not"},
	{from: []string{"logferry/cmd", "logferry/agent", "logferry/collector", "logferry/sink", "logferry/internal"},
		except: []string{"logferry/agent/kubernetes"}, to: []string{"k8s.io"}, why: "only agent/kubernetes speaks to Kubernetes"},
	{from: []string{"logferry/agent/kubernetes"}, to: []string{"k8s.io/api"}, why: "the agent's binary stays lean"},
	{from: []string{"logferry/collector/frame", "logferry/collector/checkpoint", "logferry/collector/watch"}, to: []string{"logferry/collector/tail"}, why: "tail is built of them"},
}

func below(pkg string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool {
		return pkg == r || strings.HasPrefix(pkg, r+"/")
	})
}

func broken(imports map[string][]string) []string {
	var out []string
	for pkg, deps := range imports {
		for _, dep := range deps {
			for _, r := range rules {
				if below(pkg, r.from) && !below(pkg, r.except) && below(dep, r.to) && !below(dep, r.from) {
					out = append(out, fmt.Sprintf("%s imports %s: %s", pkg, dep, r.why))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestImportsFollowTheArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "logferry/...").Output()
	require.NoError(t, err)
	imports := map[string][]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		imports[p.ImportPath] = p.Imports
	}
	require.Contains(t, imports, "logferry/agent")
	require.Empty(t, broken(imports))
}

func TestAnArrowTurnedRoundIsFound(t *testing.T) {
	for pkg, dep := range map[string]string{
		"logferry/collector/tail":   "logferry/sink/kafka",
		"logferry/sink/kafka":       "logferry/agent/task",
		"logferry/agent":            "github.com/IBM/sarama",
		"logferry/cmd/logferry":     "go.etcd.io/etcd/client/v3",
		"logferry/internal/record":  "logferry/collector",
		"logferry/agent/task":       "logferry/agent",
		"logferry/agent/http":       "testing",
		"logferry/collector":        "github.com/nxadm/tail",
		"logferry/agent/try":        "k8s.io/client-go/rest",
		"logferry/agent/kubernetes": "k8s.io/api/core/v1",
	} {
		require.Len(t, broken(map[string][]string{pkg: {dep}}), 1, "%s → %s", pkg, dep)
	}
	require.Empty(t, broken(map[string][]string{
		"logferry/sink/kafka/admin": {"github.com/IBM/sarama", "logferry/sink/kafka"},
		"logferry/agent":            {"logferry/collector", "logferry/sink", "logferry/agent/task"},
		"logferry/cmd/sandbox":      {"go.etcd.io/etcd/server/v3/embed"},
	}))
}
