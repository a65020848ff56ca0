package etcdsource

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Defaults and bounds of the lease that a registration lives under.
const (
	DefaultLeaseTTL = 30 * time.Second
	MinLeaseTTL     = 5 * time.Second
	MaxLeaseTTL     = time.Hour
)

const (
	lookInterval    = 250 * time.Millisecond // between two looks at the states
	reportBurst     = 5                      // reports of changed states without a pause
	reportRefill    = 5 * time.Second        // after which one more may go
	maxRejoin       = 2 * time.Second        // longest pause before a lost lease is replaced
	patientFailures = 4                      // in a row, after which another member is tried
	removeTimeout   = time.Second            // for taking the registration away at the end
)

// Default and bounds of how often an agent reports while no state changes.
const (
	DefaultReportInterval = 30 * time.Second
	MinReportInterval     = 10 * time.Second
	MaxReportInterval     = time.Hour
)

var errLeaseLost = errors.New("the lease was lost")

// RegistrarConfig says what an agent tells about itself.
type RegistrarConfig struct {
	Agent    Agent         // Revision, Process and Clash are filled in
	LeaseTTL time.Duration // how long after its last sign of life an agent is forgotten; default 30s
	// ReportInterval is the least time between two reports while no state
	// changes, and up to a quarter more by chance; default 30s.
	ReportInterval time.Duration

	// Tasks returns what the tasks do. It may be costly and is called for each
	// report.
	Tasks func() []TaskReport
	// Digest returns a number that changes with the state, error or revision
	// of any task. It is cheap and is called several times a second.
	Digest func() uint64
}

// Registration is how an agent stands in etcd at one moment.
type Registration struct {
	Registered bool   `json:"registered"`
	Name       string `json:"name,omitempty"` // of its keys; the id unless another agent holds that
	Clash      *Clash `json:"clash,omitempty"`
	LastError  string `json:"last_error,omitempty"` // one line; empty while registered
}

// Registrar keeps PREFIX/agents/ID and PREFIX/status/ID up to date under a
// lease. Its promise: two agents with one id do not overwrite each other, and
// no trouble with etcd reaches anything but the Registrar. Run is called once;
// Status may be called from any goroutine.
type Registrar struct {
	source *Source
	cfg    RegistrarConfig
	log    *slog.Logger

	// All below belongs to the goroutine of Run.
	lease    clientv3.LeaseID // 0: none
	name     string           // of the keys; "" before the first registration
	clash    *Clash           // who holds the id; nil: this agent, or nobody
	warned   time.Time        // of the clash, last
	written  string           // registration that is in etcd
	reported string           // report that is in etcd, without its time
	seen     uint64           // digest that the report is of
	next     time.Time        // when it is written again although no state changes
	allowed  bucket

	mu     sync.Mutex
	status Registration
}

// NewRegistrar returns a registrar on the connection of source.
func NewRegistrar(source *Source, cfg RegistrarConfig, log *slog.Logger) (*Registrar, error) {
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = DefaultLeaseTTL
	}
	if cfg.LeaseTTL < MinLeaseTTL || cfg.LeaseTTL > MaxLeaseTTL {
		return nil, fmt.Errorf("etcd lease_ttl: %s is out of bounds; write something from %s to %s", cfg.LeaseTTL, MinLeaseTTL, MaxLeaseTTL)
	}
	if cfg.ReportInterval == 0 {
		cfg.ReportInterval = DefaultReportInterval
	}
	if cfg.ReportInterval < MinReportInterval || cfg.ReportInterval > MaxReportInterval {
		return nil, fmt.Errorf("etcd report_interval: %s is out of bounds; write something from %s to %s", cfg.ReportInterval, MinReportInterval, MaxReportInterval)
	}
	var process [4]byte
	_, _ = rand.Read(process[:]) // never fails
	cfg.Agent.Process = hex.EncodeToString(process[:])
	return &Registrar{source: source, cfg: cfg, log: log, allowed: bucket{left: reportBurst}}, nil
}

// Status returns how the agent stands in etcd.
func (r *Registrar) Status() Registration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *Registrar) setStatus(st Registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = st
}

// Run registers the agent and reports until ctx ends; then it takes both keys
// away, which holds up its return for a second at most.
func (r *Registrar) Run(ctx context.Context) error {
	link := r.source.link
	link.enter()
	defer func() { _ = link.leave() }()
	defer r.remove(context.WithoutCancel(ctx))
	var quiet rateLimit
	for failures := 0; ; failures++ {
		// While etcd does not even tell the tasks, a lease is one request too many.
		for !r.source.answered.Load() {
			if !wait(ctx, lookInterval) {
				return ctx.Err()
			}
		}
		began := time.Now()
		err := r.session(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if client := link.current(); client != nil && failures >= patientFailures && connectionFails(err) && r.source.Connected() {
			link.drop(client) // another member may do what this one cannot
		}
		err = explain(r.source.cfg, err)
		r.setStatus(Registration{LastError: err.Error()})
		if time.Since(began) > stableSession || errors.Is(err, errLeaseLost) {
			failures = 0
		}
		pause := pauseAfter(err, failures)
		level := slog.LevelDebug // the source tells of a connection that fails
		if !connectionFails(err) {
			level = quiet.level(err.Error())
		}
		r.log.Log(ctx, level, "not registered in etcd, shipping goes on", "error", err, "retry_in", pause)
		if !wait(ctx, pause) {
			return ctx.Err()
		}
	}
}

// connectionFails says whether an error is one that the source meets as well.
func connectionFails(err error) bool {
	switch code := status.Code(err); {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, clientv3.ErrNoAvailableEndpoints):
		return true
	case is(err, rpctypes.ErrAuthFailed), is(err, rpctypes.ErrUserEmpty), is(err, rpctypes.ErrInvalidAuthToken):
		return true
	default:
		return code == codes.Unavailable || code == codes.Canceled || code == codes.DeadlineExceeded
	}
}

// session holds the registration on one client until that or the lease is lost.
func (r *Registrar) session(ctx context.Context) error {
	client, err := r.source.link.get(ctx)
	if err != nil {
		return err
	}
	before := r.lease
	if err := r.join(ctx, client); err != nil {
		return err
	}
	// With the lease the keys are there as they were, unless somebody removed
	// them, which the next report finds.
	kept := before != 0 && r.lease == before && r.written != "" && r.reported != "" && r.clash == nil
	alive, stop := context.WithCancel(ctx)
	defer stop()
	signs, err := client.KeepAlive(alive, r.lease)
	if err != nil {
		return fmt.Errorf("keep lease alive: %w", err)
	}
	if kept {
		r.setStatus(Registration{Registered: true, Name: r.name})
	} else if err := r.claim(ctx, client); err != nil {
		return fmt.Errorf("register agent: %w", err)
	}
	return r.report(ctx, client, signs, kept)
}

// join makes sure of a lease: the one from before if it is still there.
func (r *Registrar) join(ctx context.Context, client *clientv3.Client) error {
	if r.lease != 0 {
		err := r.request(ctx, func(ctx context.Context) error {
			_, err := client.KeepAliveOnce(ctx, r.lease)
			return err
		})
		switch {
		case err == nil:
			return nil
		case !is(err, rpctypes.ErrLeaseNotFound):
			return fmt.Errorf("find lease again: %w", err)
		}
		r.lease, r.written, r.reported = 0, "", ""
		// Agents that lost their leases together do not come back together.
		pause := mathrand.N(maxRejoin)
		r.log.Warn("lease in etcd was lost, registering anew", "agent", r.name, "in", pause)
		if !wait(ctx, pause) {
			return ctx.Err()
		}
	}
	return r.request(ctx, func(ctx context.Context) error {
		resp, err := client.Grant(ctx, int64(r.cfg.LeaseTTL/time.Second))
		if err != nil {
			return fmt.Errorf("take a lease: %w", err)
		}
		r.lease = resp.ID
		return nil
	})
}

// request gives one request its deadline.
func (r *Registrar) request(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.source.cfg.RequestTimeout)
	defer cancel()
	return do(ctx)
}

// report writes what the tasks do, at once when a state changes and otherwise
// now and then, until the lease or the client is lost.
func (r *Registrar) report(ctx context.Context, client *clientv3.Client, signs <-chan *clientv3.LeaseKeepAliveResponse, kept bool) error {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	if !kept {
		r.seen = r.cfg.Digest()
		if err := r.write(ctx, client); err != nil {
			return err
		}
		r.next = time.Now().Add(r.reportPause())
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-signs:
			if !ok {
				return errLeaseLost
			}
			continue
		case <-look.C:
		}
		digest := r.cfg.Digest()
		if due := !time.Now().Before(r.next); !due && (digest == r.seen || !r.allowed.take(time.Now())) {
			continue
		}
		r.seen = digest
		if err := r.write(ctx, client); err != nil {
			return err
		}
		r.next = time.Now().Add(r.reportPause())
	}
}

// reportPause spreads the reports of many agents, and is never shorter than
// their interval.
func (r *Registrar) reportPause() time.Duration {
	return r.cfg.ReportInterval + mathrand.N(r.cfg.ReportInterval/4)
}

// remove takes the registration away if etcd is at hand.
func (r *Registrar) remove(ctx context.Context) {
	client := r.source.link.current()
	if client == nil || r.lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	if _, err := client.Revoke(ctx, r.lease); err != nil {
		r.log.Info("registration stays in etcd until its lease ends", "agent", r.name, "error", explain(r.source.cfg, err))
	}
	r.setStatus(Registration{})
}

// wait pauses; it reports false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// bucket lets a burst through, and then one each reportRefill.
type bucket struct {
	left   int
	filled time.Time
}

func (b *bucket) take(now time.Time) bool {
	if n := int(now.Sub(b.filled) / reportRefill); n > 0 {
		b.left = min(reportBurst, b.left+n)
		b.filled = now
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}
