package etcdsource

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Right is what the login of an agent may do below one prefix.
type Right struct {
	Prefix string // with its slash
	Read   bool   // all of it
	Write  bool   // the agent's own key, or any that a rollout needs
}

// Rights are those that an agent needs besides reading tasks.
type Rights struct {
	Agents, Status Right // to register; all of them to be read by whoever moves rollouts on
	Rollouts, Good Right // to take part in rollouts
}

// Registers says whether the agent may stand in etcd and report.
func (r Rights) Registers() bool { return r.Agents.Write && r.Status.Write }

// Leads says whether the agent may move rollouts on, beside taking part.
func (r Rights) Leads() bool { return r.Rollouts.Write && r.Agents.Read && r.Status.Read }

// Rights finds out what the login may do for the agent of an id. It changes
// nothing: writes are asked for under a condition that never holds, and etcd
// looks at the rights of those as well.
func (s *Store) Rights(ctx context.Context, id string) (Rights, error) {
	r := Rights{
		Agents: Right{Prefix: s.cfg.agents()}, Status: Right{Prefix: s.cfg.reports()},
		Rollouts: Right{Prefix: s.cfg.rollouts()}, Good: Right{Prefix: s.cfg.goods()},
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	c, err := s.link.get(ctx)
	if err != nil {
		return r, fmt.Errorf("look at the login's rights: %w", explain(s.cfg, err))
	}
	for _, probe := range []struct {
		right *Right
		key   string // to be written; empty: none
	}{{&r.Agents, id}, {&r.Status, id}, {&r.Rollouts, leaderName}, {&r.Good, ""}} {
		_, err := c.Get(ctx, probe.right.Prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if probe.right.Read, err = granted(err); err != nil {
			return r, fmt.Errorf("look at the login's rights: %w", explain(s.cfg, err))
		}
		if probe.key == "" {
			continue
		}
		key := probe.right.Prefix + probe.key
		_, err = c.Txn(ctx).If(clientv3.Compare(clientv3.Version(key), "<", 0)).Then(clientv3.OpPut(key, "")).Commit()
		if probe.right.Write, err = granted(err); err != nil {
			return r, fmt.Errorf("look at the login's rights: %w", explain(s.cfg, err))
		}
	}
	return r, nil
}

func granted(err error) (bool, error) {
	if is(err, rpctypes.ErrPermissionDenied) {
		return false, nil
	}
	return err == nil, err
}

// Missing says what of the rights the agent lacks, what that means, and how to
// grant it, one line each; none if it needs nothing more.
func (r Rights) Missing() []string {
	var lines []string
	for _, m := range []struct {
		lacks       bool
		means       string
		right       string
		permissions []Right
	}{
		{!r.Registers(), "the login may not register this agent, so no status and no rollout sees it", "readwrite", []Right{r.Agents, r.Status}},
		{!r.Rollouts.Read, "the login may not read the states of rollouts, so changes with a rollout do not reach this agent", "readwrite", []Right{r.Rollouts}},
		{!r.Good.Read, "the login may not read last good texts, so an agent that has never seen one refuses its task during a rollout", "read", []Right{r.Good}},
	} {
		if !m.lacks {
			continue
		}
		var commands []string
		for _, p := range m.permissions {
			if m.right == "read" || !p.Write {
				commands = append(commands, fmt.Sprintf("etcdctl role grant-permission ROLE %s --prefix %s", m.right, p.Prefix))
			}
		}
		lines = append(lines, m.means+"; grant its role that: "+strings.Join(commands, " and "))
	}
	return lines
}
