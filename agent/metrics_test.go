package agent

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

var (
	describedMetric = regexp.MustCompile(`fqName: "(logferry_[a-z_]+)".*variableLabels: \{([a-z,]*)\}`)
	metricRow       = regexp.MustCompile("(?m)^\\| (`logferry_[^|]*)\\|([^|]*)\\|")
	metricInRow     = regexp.MustCompile("`(logferry_[a-z_]+)`")
)

// registeredMetrics is each of the agent's own metrics with its labels.
func registeredMetrics(t *testing.T, reg *prometheus.Registry) map[string][]string {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		reg.Describe(descs)
	}()
	out := map[string][]string{}
	for d := range descs {
		if m := describedMetric.FindStringSubmatch(d.String()); m != nil {
			out[m[1]] = words(m[2])
		}
	}
	return out
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func TestTheREADMETellsEveryMetricWithItsLabels(t *testing.T) {
	w := newWorld(t, nil)
	registered := registeredMetrics(t, w.agent.registry)
	require.Greater(t, len(registered), 20)

	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	told := map[string]bool{}
	for _, row := range metricRow.FindAllStringSubmatch(string(readme), -1) {
		var labels []string
		for _, m := range metricInRow.FindAllStringSubmatch(row[1], -1) {
			name := m[1]
			require.Contains(t, registered, name, "the README tells of a metric that the agent does not have")
			require.False(t, told[name], "%s stands twice", name)
			told[name] = true
			labels = append(labels, registered[name]...)
		}
		slices.Sort(labels)
		require.ElementsMatch(t, slices.Compact(labels), words(row[2]), "labels of %s", row[1])
	}
	for name := range registered {
		require.True(t, told[name], "the README does not tell of %s", name)
	}
}
