package agent

import (
	"crypto/rand"
	"encoding/hex"
	"hash/maphash"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"logferry/agent/etcdsource"
	"logferry/sink/kafka"
)

// openRegistrar prepares what this agent tells the fleet through etcd.
func (a *Agent) openRegistrar(opts Options) error {
	who := a.identity
	a.trials = &trials{status: a.supervisor.status}
	a.self = etcdsource.Agent{
		ID: who.ID, Host: who.Host, Version: opts.Version, Labels: who.Labels, Groups: a.groups(),
		Started: time.Now().UTC().Truncate(time.Second), HTTP: a.address(who.Host), Instance: a.instance(),
	}
	if a.etcd == nil || opts.DryRun != nil { // what is only shown must not be taken for an agent that ships
		return nil
	}
	a.trials.current = a.etcd.Trials
	var err error
	a.registrar, err = etcdsource.NewRegistrar(a.etcd, etcdsource.RegistrarConfig{
		Agent: a.self, LeaseTTL: a.cfg.Tasks.Etcd.LeaseTTL, ReportInterval: a.cfg.Tasks.Etcd.ReportInterval, Tasks: a.reports,
		Digest: func() (all, urgent uint64) {
			all, urgent = a.supervisor.Digest()
			tried := a.trials.look(time.Now())
			return all + tried, urgent + tried
		},
	}, a.log)
	if err == nil {
		a.conductor = etcdsource.NewConductor(a.registrar, a.log)
	}
	return err
}

// address is where others find this agent's HTTP.
func (a *Agent) address(host string) string {
	at := reachable(a.Addr().String(), host)
	if a.cfg.HTTP.TLS != nil {
		at = "https://" + at
	}
	return at
}

// reachable names the host where the agent listens on all its addresses.
func reachable(address, host string) string {
	ip, port, err := net.SplitHostPort(address)
	if err == nil && net.ParseIP(ip).IsUnspecified() {
		return net.JoinHostPort(host, port)
	}
	return address
}

var instancePattern = regexp.MustCompile(`^[0-9a-f]{16}$`)

// instance returns a word that stays the same over restarts with one
// state_dir. Without it, what a killed agent left in etcd counts as another
// agent until its lease ends.
func (a *Agent) instance() string {
	path := filepath.Join(a.cfg.StateDir, "instance")
	if data, err := os.ReadFile(path); err == nil && instancePattern.Match(data) {
		return string(data)
	}
	var word [8]byte
	_, _ = rand.Read(word[:]) // never fails
	text := hex.EncodeToString(word[:])
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.log.Warn("cannot keep this agent's instance, a restart will wait for its old lease; check state_dir", "error", err)
	}
	return text
}

// reports says what the tasks do, for the fleet.
func (a *Agent) reports() []etcdsource.TaskReport {
	now, acked := time.Now(), map[string]kafka.Acked{}
	if a.kafka != nil {
		acked = a.kafka.Acked()
	}
	var out []etcdsource.TaskReport
	for _, t := range a.supervisor.Tasks() {
		r := etcdsource.TaskReport{
			Name: t.Name, State: string(t.State), Revision: t.Revision, Error: t.Error, Refused: t.Refused,
			Files: t.Files, NotCollected: t.NotCollected, FirstRefused: t.FirstRefused, Records: acked[t.Name].Records, Bytes: acked[t.Name].Bytes,
			LagBytes: t.LagBytes, LagSeconds: math.Round(t.LagSeconds*10) / 10,
			RefusedRevision: t.RefusedRevision, DeadLetters: t.SetAside,
		}
		r.Trial, r.LagGrows = a.trials.of(t.Name)
		if t.Source == sourceEtcd {
			r.Group = a.etcd.GroupOf(t.Name)
		}
		if t.LagSeconds > 0 {
			r.OldestUnacked = now.Add(-time.Duration(t.LagSeconds * float64(time.Second))).UTC().Truncate(time.Second)
		}
		out = append(out, r)
	}
	return out
}

// groups returns those whose tasks in etcd concern this agent.
func (a *Agent) groups() []string {
	if a.cfg.Tasks.Etcd == nil {
		return nil
	}
	return a.cfg.Tasks.Etcd.Groups
}

// others returns how many tasks are for other agents.
func (a *Agent) others() int {
	n := a.supervisor.Others()
	if a.etcd != nil {
		n += a.etcd.Status().Others
	}
	return n
}

// registration returns how the agent stands in etcd; false when it does not
// register.
func (a *Agent) registration() (etcdsource.Registration, bool) {
	if a.registrar == nil {
		return etcdsource.Registration{}, false
	}
	return a.registrar.Status(), true
}

// rollouts returns how far the changes are that concern this agent, and whether it
// moves them on; configured is false when it takes no part.
func (a *Agent) rollouts() (waves []etcdsource.RolloutWave, leads, configured bool) {
	if a.conductor == nil {
		return nil, false, false
	}
	return a.etcd.RolloutWaves(), a.conductor.Leads(), true
}

// agentView is what the API says of the agent itself.
type agentView struct {
	etcdsource.Agent
	Etcd         *etcdsource.Status       `json:"etcd,omitempty"`
	Registration *etcdsource.Registration `json:"registration,omitempty"`
}

func (a *Agent) view() agentView {
	v := agentView{Agent: a.self}
	if a.etcd != nil {
		st := a.etcd.Status()
		v.Etcd, v.Revision = &st, a.etcd.Applied()
	}
	if reg, ok := a.registration(); ok {
		v.Registration = &reg
	}
	return v
}

var digestSeed = maphash.MakeSeed()

// Digest returns a number that changes with the state, error or revision of
// any task, and one that changes only with what is refused, fails, or has an
// error. It looks at no file.
func (s *Supervisor) Digest() (all, urgent uint64) {
	s.mu.Lock()
	keepers := slices.Collect(maps.Values(s.keepers))
	briefs := s.stoppedLocked()
	for name, r := range s.refused { // sums: the order of tasks does not count
		urgent += maphash.String(digestSeed, strings.Join([]string{"refused", name, r.Origin, r.Error}, "\x00"))
	}
	s.mu.Unlock()
	for _, k := range keepers {
		st, _ := k.brief()
		briefs = append(briefs, st)
	}
	for _, st := range briefs {
		sum := maphash.String(digestSeed, strings.Join([]string{st.Name, string(st.State), st.Error, strconv.FormatInt(st.Revision, 10)}, "\x00"))
		if st.Error != "" || st.State == TaskFailing || st.State == TaskRefused {
			urgent += sum
		} else {
			all += sum
		}
	}
	return all + urgent, urgent
}
