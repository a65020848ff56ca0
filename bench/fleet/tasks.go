package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/bench/stats"
)

const tasksPrefix = "/logferry/tasks/"

// job is one task of the fleet.
type job struct {
	name string
	app  int // that it is for; everyone: all
}

const everyone = -1

func (o options) jobs() []job {
	jobs := make([]job, o.tasks)
	for i := range jobs {
		jobs[i] = job{fmt.Sprintf("task-%04d", i), everyone}
		if i >= max(1, o.tasks/10) {
			jobs[i].app = i % o.apps
		}
	}
	return jobs
}

func appName(app int) string { return fmt.Sprintf("app-%03d", app) }

// text is the task as an operator writes it; its topic differs with each edit.
func (j job) text(edit int) string {
	text := fmt.Sprintf("# %s\npaths: [/var/log/%s/*.log]\nexclude: ['*.gz']\ntopic: %s_%d\nheaders: {team: fleet}\n", j.name, j.name, j.name, edit)
	if j.app != everyone {
		text += fmt.Sprintf("select:\n  labels: {app: %s}\n", appName(j.app))
	}
	return text
}

// edit is one change of one task.
type edit struct {
	job  job
	rev  int64
	at   time.Time // when its writing began
	want int       // agents that it is for
}

// put writes a task.
func put(ctx context.Context, client *clientv3.Client, j job, number int) (edit, error) {
	e := edit{job: j, at: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	resp, err := client.Put(ctx, tasksPrefix+j.name, j.text(number))
	if err != nil {
		return e, fmt.Errorf("put task %s: %w", j.name, err)
	}
	e.rev = resp.Header.Revision
	return e, nil
}

// spread is how long an edit took to reach agents.
type spread struct {
	half, most, all time.Duration // to half of the agents that it selects, to 99 of 100, to all
	missing         int           // agents that it did not reach
}

// spreadOf looks up when each agent applied an edit.
func spreadOf(agents []*agent, e edit) spread {
	var took []float64
	for _, a := range agents {
		if at, ok := a.applied(e.job.name, e.rev); ok {
			took = append(took, at.Sub(e.at).Seconds())
		}
	}
	s := spread{missing: e.want - len(took)}
	if len(took) == 0 {
		return s
	}
	at := func(q float64) time.Duration { return time.Duration(stats.Quantile(took, q) * float64(time.Second)) }
	s.half, s.most, s.all = at(0.5), at(0.99), time.Duration(slices.Max(took)*float64(time.Second))
	return s
}

// seconds prints a duration with milliseconds.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) + " s" }
