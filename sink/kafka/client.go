package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
)

// NewClient connects to the cluster that cfg names; defaults are filled in.
// The client is for administration, for consuming, and for producing by hand:
// its producers take the partition that the message names. It fails when no
// broker answers within the request timeout. The caller closes it.
func NewClient(cfg Config, log *slog.Logger) (sarama.Client, error) {
	cfg.SetDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	sc, err := cfg.Sarama()
	if err != nil {
		return nil, err
	}
	RouteLogs(log)
	cfg.access.logTo(log)
	dial := newDialer(cfg)
	sc.Net.Proxy.Enable, sc.Net.Proxy.Dialer = true, dial
	client, err := sarama.NewClient(cfg.Brokers, sc)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka at %s: %w", strings.Join(cfg.Brokers, ", "), explain(err, dial.lastError(), "", cfg))
	}
	return client, nil
}

var routeOnce sync.Once

// RouteLogs routes sarama's own log lines to log, at debug level, and switches
// off its metrics, which nothing reads and which would leave a goroutine
// behind. Both are global in sarama and not guarded, so the first call decides.
// NewClient and Sink.Run make it; a program that uses sarama in other ways too
// calls it before that.
func RouteLogs(log *slog.Logger) {
	routeOnce.Do(func() {
		l := &saramaLog{log: log.With("component", "sarama")}
		sarama.Logger, sarama.DebugLogger = l, l
		metrics.UseNilMetrics = true
	})
}

// saramaLog is a sarama.StdLogger in front of a slog.Logger.
type saramaLog struct{ log *slog.Logger }

func (l *saramaLog) Print(v ...any)   { l.write(fmt.Sprint, v) }
func (l *saramaLog) Println(v ...any) { l.write(fmt.Sprintln, v) }

func (l *saramaLog) Printf(format string, v ...any) {
	noteRetry(format, v)
	l.write(func(v ...any) string { return fmt.Sprintf(format, v...) }, v)
}

func (l *saramaLog) write(text func(...any) string, v []any) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	l.log.DebugContext(ctx, "sarama", "text", strings.TrimSpace(text(v...)))
}
