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
	// of any task, and one that changes only with what somebody waits for: what
	// is in trouble, and what a rollout tries. It is cheap and is called several
	// times a second.
	Digest func() (all, urgent uint64)
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
	applied  int64            // revision that the registration tells
	seen     [2]uint64        // digests that pace knows of
	next     time.Time        // when it is written again although no state changes
	whole    time.Time        // when the registration's revision was brought up to date
	pace     pace

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
	return &Registrar{source: source, cfg: cfg, log: log, pace: newPace()}, nil
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
	lost, done := holdLease(ctx, client, r.lease, r.cfg.LeaseTTL)
	defer done()
	if kept {
		r.setStatus(Registration{Registered: true, Name: r.name})
	} else {
		r.applied = r.source.Applied()
		if err := r.claim(ctx, client); err != nil {
			return fmt.Errorf("register agent: %w", err)
		}
	}
	return r.report(ctx, client, lost, kept)
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
func (r *Registrar) report(ctx context.Context, client *clientv3.Client, lost <-chan struct{}, kept bool) error {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	if !kept {
		if err := r.update(ctx, client); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lost:
			return errLeaseLost
		case <-look.C:
		}
		now := time.Now()
		r.look(now)
		if now.Before(r.next) && !r.pace.isDue(now) {
			continue
		}
		if err := r.update(ctx, client); err != nil {
			return err
		}
	}
}

// look sees what has changed since the last look.
func (r *Registrar) look(now time.Time) {
	var digest [2]uint64
	digest[0], digest[1] = r.cfg.Digest()
	if digest == r.seen {
		return
	}
	r.pace.changed(now, digest[1] != r.seen[1])
	r.seen = digest
}

// update writes what the tasks do. A newer revision that was applied is told by
// that as well, so the registration takes it over now and then only; the agents
// are counted then, if that is due.
func (r *Registrar) update(ctx context.Context, client *clientv3.Client) error {
	r.seen[0], r.seen[1] = r.cfg.Digest()
	whole := time.Since(r.whole) >= r.cfg.ReportInterval
	if whole {
		r.applied = r.source.Applied()
	}
	if err := r.write(ctx, client); err != nil {
		return err
	}
	now := time.Now()
	r.pace.told()
	r.next = now.Add(r.reportPause())
	if whole {
		r.whole = now
		if r.pace.countDue(now) {
			r.pace.count(now, r.count(ctx, client))
		}
	}
	return nil
}

// count returns how many agents there are, from the member at hand alone: it
// need not be exact.
func (r *Registrar) count(ctx context.Context, client *clientv3.Client) (agents int) {
	err := r.request(ctx, func(ctx context.Context) error {
		resp, err := client.Get(ctx, r.source.cfg.agents(), clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable())
		if err == nil {
			agents = int(resp.Count)
		}
		return err
	})
	switch {
	case err == nil:
		return agents
	case is(err, rpctypes.ErrPermissionDenied): // it may write its own key alone
		return unknownFleet
	default: // whoever needs etcd next will say so
		return r.pace.agents
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
