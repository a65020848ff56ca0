package etcdsource

import (
	"fmt"
	"testing"
)

// BenchmarkOverview is one picture of a large fleet: 5,000 agents, 200 tasks,
// of which each agent runs ten.
func BenchmarkOverview(b *testing.B) {
	var f Fleet
	for i := range 200 {
		f.Tasks = append(f.Tasks, Entry{
			Name: fmt.Sprintf("task-%03d", i), Modified: 5,
			Raw: fmt.Appendf(nil, "paths: [/var/log/%d/*.log]\ntopic: t\nselect: {hosts: ['web-*'], labels: {group: g%d}}\n", i, i%20),
		})
	}
	for i := range 5000 {
		var tasks []TaskReport
		for k := range 10 {
			tasks = append(tasks, TaskReport{Name: fmt.Sprintf("task-%03d", i%20+20*k), State: "running", Revision: 5, Files: 1})
		}
		m := reporting(fmt.Sprintf("web-%d", i), 5, map[string]string{"group": fmt.Sprintf("g%d", i%20)}, tasks...)
		f.Members = append(f.Members, m)
	}
	b.ReportAllocs()
	for b.Loop() {
		if o := f.Overview(); o[0].Running != 250 {
			b.Fatal(o[0].Running)
		}
	}
}
