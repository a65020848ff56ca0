package deploy_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var (
	metricRow    = regexp.MustCompile("(?m)^\\| `logferry_[^|]*\\|")
	metricInExpr = regexp.MustCompile(`\blogferry_[a-z_]+`)
	labelInText  = regexp.MustCompile(`\$labels\.([a-z]+)`)
	groupedBy    = regexp.MustCompile(`by \(([a-z, ]+)\)`)
)

// metricNames are the metrics of the README's table, which a test of package
// agent holds against those that exist.
func metricNames(t *testing.T) []string {
	t.Helper()
	rows := metricRow.FindAllString(read(t, "../README.md"), -1)
	return metricInExpr.FindAllString(strings.Join(rows, "\n"), -1)
}

// checkExpression holds an expression against the metrics that exist.
func checkExpression(t *testing.T, expr string) {
	t.Helper()
	exist := metricNames(t)
	for _, name := range metricInExpr.FindAllString(expr, -1) {
		if base, isBucket := strings.CutSuffix(name, "_bucket"); isBucket {
			require.Equal(t, "logferry_append_to_ack_seconds", base, expr)
			continue
		}
		require.Contains(t, exist, name, expr)
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		require.Equal(t, strings.Count(expr, pair[:1]), strings.Count(expr, pair[1:]), expr)
	}
}

func decodeStrict(t *testing.T, path string, into any) {
	t.Helper()
	dec := yaml.NewDecoder(strings.NewReader(read(t, path)))
	dec.KnownFields(true)
	require.NoError(t, dec.Decode(into), path)
}

func TestAlertRulesUseMetricsAndLabelsThatExist(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				For         time.Duration     `yaml:"for"`
				Labels      map[string]string `yaml:"labels"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	decodeStrict(t, "prometheus/rules.yaml", &file)
	require.Len(t, file.Groups, 1)
	seen := map[string]bool{}
	for _, rule := range file.Groups[0].Rules {
		require.False(t, seen[rule.Alert], "%s stands twice", rule.Alert)
		seen[rule.Alert] = true
		require.NotEmpty(t, rule.Expr, rule.Alert)
		checkExpression(t, rule.Expr)
		require.Contains(t, []string{"warning", "critical"}, rule.Labels["severity"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["description"], rule.Alert)
		if by := groupedBy.FindStringSubmatch(rule.Expr); by != nil {
			for _, text := range rule.Annotations {
				for _, label := range labelInText.FindAllStringSubmatch(text, -1) {
					require.Contains(t, strings.Split(by[1], ", "), label[1], rule.Alert)
				}
			}
		}
	}
	for _, name := range []string{"LogferryDown", "LogferryLagGrowing", "LogferryDeadLetters", "LogferryTaskNotRunning", "LogferryNotDelivering", "LogferryRolloutWentBack", "LogferryRolloutStandsStill"} {
		require.True(t, seen[name], name)
	}
}

func TestPrometheusScrapesTheAgentOfCompose(t *testing.T) {
	var file struct {
		Global        map[string]time.Duration `yaml:"global"`
		RuleFiles     []string                 `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string `yaml:"job_name"`
			StaticConfigs []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	decodeStrict(t, "prometheus/prometheus.yaml", &file)
	require.Equal(t, []string{"/etc/prometheus/rules.yaml"}, file.RuleFiles)
	require.Equal(t, "logferry", file.ScrapeConfigs[0].JobName)
	require.Equal(t, []string{"logferry:9600"}, file.ScrapeConfigs[0].StaticConfigs[0].Targets)
	require.Contains(t, strings.Join(service(t, loadCompose(t), "prometheus").Command, " "), "--config.file=/etc/prometheus/prometheus.yaml")
}

func TestPromtoolAcceptsTheRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", "prometheus/rules.yaml").CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestGrafanaIsProvisionedWithTheDashboard(t *testing.T) {
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name      string            `yaml:"name"`
			UID       string            `yaml:"uid"`
			Type      string            `yaml:"type"`
			Access    string            `yaml:"access"`
			URL       string            `yaml:"url"`
			IsDefault bool              `yaml:"isDefault"`
			JSONData  map[string]string `yaml:"jsonData"`
		} `yaml:"datasources"`
	}
	decodeStrict(t, "grafana/provisioning/datasources/prometheus.yaml", &sources)
	require.Equal(t, "http://prometheus:9090", sources.Datasources[0].URL)
	require.True(t, sources.Datasources[0].IsDefault)

	var providers struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name            string `yaml:"name"`
			Type            string `yaml:"type"`
			DisableDeletion bool   `yaml:"disableDeletion"`
			Options         struct {
				Path string `yaml:"path"`
			} `yaml:"options"`
		} `yaml:"providers"`
	}
	decodeStrict(t, "grafana/provisioning/dashboards/logferry.yaml", &providers)
	var mounted []string
	for _, v := range service(t, loadCompose(t), "grafana").Volumes {
		mounted = append(mounted, v.Target)
	}
	require.Contains(t, mounted, providers.Providers[0].Options.Path)
	require.Contains(t, mounted, "/etc/grafana/provisioning")
}

func TestDashboardShowsMetricsThatExist(t *testing.T) {
	var board struct {
		UID    string `json:"uid"`
		Title  string `json:"title"`
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			GridPos struct {
				X, Y, W, H int
			} `json:"gridPos"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	require.NoError(t, json.NewDecoder(bytes.NewReader([]byte(read(t, "grafana/dashboards/logferry.json")))).Decode(&board))
	require.Equal(t, "logferry", board.UID)
	ids, covered := map[int]string{}, map[[2]int]string{}
	for _, panel := range board.Panels {
		require.Empty(t, ids[panel.ID], "id of %s", panel.Title)
		ids[panel.ID] = panel.Title
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			require.Contains(t, target.Expr, "logferry_", panel.Title)
			checkExpression(t, target.Expr)
		}
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				require.Less(t, x, 24, panel.Title)
				require.Empty(t, covered[[2]int{x, y}], "%s lies over another panel", panel.Title)
				covered[[2]int{x, y}] = panel.Title
			}
		}
	}
}
