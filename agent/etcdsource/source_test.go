package etcdsource

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logferry/agent/task"
	"logferry/test/etcdtest"
)

func TestTasksArePutEditedAndDeletedWhileTheSourceRuns(t *testing.T) {
	e := etcdtest.Start(t)
	r := run(t, testConfig(t, e.Endpoints()...))
	require.Empty(t, r.next().Tasks)
	r.connected(true)

	rev := e.Put(t, "/logferry/tasks/web", `{"paths":["/var/log/nginx/*.log"],"topic":"web_log"}`)
	s := r.next()
	require.Equal(t, rev, s.Revision)
	require.Len(t, s.Tasks, 1)
	require.Equal(t, []string{"/var/log/nginx/*.log"}, s.Tasks[0].Paths)
	require.Equal(t, "web", s.Tasks[0].Name)
	require.Equal(t, task.PartitionFile, s.Tasks[0].Partitioner)

	e.Put(t, "/logferry/tasks/app", text("app"))
	require.Equal(t, map[string]string{"web": "web_log", "app": "app"}, topics(r.next()))
	e.Put(t, "/logferry/tasks/web", text("web2"))
	require.Equal(t, map[string]string{"web": "web2", "app": "app"}, topics(r.next()))
	e.Delete(t, "/logferry/tasks/app")
	require.Equal(t, map[string]string{"web": "web2"}, topics(r.next()))
	require.Equal(t, Status{Connected: true, Revision: rev + 3, Synced: r.Status().Synced, decoded: 3}, r.Status())
}

func TestKeysOutsideOfThePrefixConcernNoTask(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, "/logferry/tasks", text("no"))
	e.Put(t, "/logferry/tasksabc", text("no"))
	e.Put(t, "/other/tasks/web", text("other"))
	cfg := testConfig(t, e.Endpoints()...)
	cfg.Prefix = "/other/"
	require.Equal(t, map[string]string{"web": "other"}, topics(run(t, cfg).next()))
	require.Empty(t, run(t, testConfig(t, e.Endpoints()...)).next().Tasks)
}

func TestAnInvalidValueKeepsTheLastGoodVersion(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	e.Put(t, "/logferry/tasks/web", text("good"))
	r := run(t, cfg)
	r.until(map[string]string{"web": "good"})

	rev := e.Put(t, "/logferry/tasks/web", "paths: [/var/log/x]\n\ntopc: x\n")
	want := []task.Refusal{{
		Name: "web", Origin: fmt.Sprintf("etcd:/logferry/tasks/web@rev %d", rev), Error: `line 3: unknown key "topc"; did you mean "topic"?`,
		Revision: rev,
	}}
	s := r.next()
	require.Equal(t, map[string]string{"web": "good"}, topics(s))
	require.Equal(t, want, s.Refused)

	r.stop()
	r = run(t, cfg)
	s = r.until(map[string]string{"web": "good"})
	require.Equal(t, want, s.Refused, "after a restart")
	r.connected(true)

	e.Put(t, "/logferry/tasks/web", text("better"))
	s = r.until(map[string]string{"web": "better"})
	require.Empty(t, s.Refused)

	e.Put(t, "/logferry/tasks/web", "")
	require.Len(t, r.next().Refused, 1)
	e.Delete(t, "/logferry/tasks/web")
	s = r.next()
	require.Empty(t, s.Tasks)
	require.Empty(t, s.Refused)
}

func TestWhatARemoteAuthorMustNotAskForIsRefused(t *testing.T) {
	e := etcdtest.Start(t)
	e.Put(t, "/logferry/tasks/a", "paths: [/etc/*]\ntopic: x\n")
	e.Put(t, "/logferry/tasks/b", text("x")+"dead_letter: {file: /etc/cron.d/x}\n")
	e.Put(t, "/logferry/tasks/c/d", text("x"))
	e.Put(t, "/logferry/tasks/", text("x"))
	s := run(t, testConfig(t, e.Endpoints()...)).next()
	require.Empty(t, s.Tasks)
	errs := map[string]string{}
	for _, r := range s.Refused {
		errs[r.Name] = r.Error
	}
	require.Equal(t, map[string]string{
		"":    `line 1: name: is missing; a task needs one`,
		"a":   `line 1: paths[0]: "/etc/*" reaches outside of allow_paths (/var/log/**); change it, or allow_paths in agent.yaml`,
		"b":   `line 3: dead_letter.file: a task from etcd cannot choose a local file to write to; use dead_letter.topic, or set the file in agent.yaml`,
		"c/d": `line 1: name: "c/d" is not a valid name; use 1 to 128 of the letters a-z A-Z 0-9 . _ -`,
	}, errs)
}

func TestABurstOfEditsEndsInTheRightSetWithFewSnapshots(t *testing.T) {
	e := etcdtest.Start(t)
	r := run(t, testConfig(t, e.Endpoints()...))
	r.next()
	r.connected(true)
	client := e.Client(t)
	const edits, names = 1000, 50
	want := map[string]string{}
	began := time.Now()
	for i := range edits {
		name, topic := fmt.Sprintf("t%d", i%names), fmt.Sprintf("v%d", i)
		_, err := client.Put(t.Context(), "/logferry/tasks/"+name, text(topic))
		require.NoError(t, err)
		want[name] = topic
	}
	took := time.Since(began)
	seen := 0
	for last := map[string]string(nil); fmt.Sprint(last) != fmt.Sprint(want); seen++ {
		last = topics(r.next())
	}
	require.LessOrEqual(t, seen, 3+int(took/debounce), "a snapshot for each quiet moment at most")
	require.Less(t, seen, edits/4)
	t.Logf("%d edits in %v made %d snapshots", edits, took.Round(time.Millisecond), seen)
}

func TestChangesBehindACompactionAreFoundByListingAgain(t *testing.T) {
	e := etcdtest.Start(t)
	p := newProxy(t, e.Endpoints()[0])
	e.Put(t, "/logferry/tasks/gone", text("gone"))
	e.Put(t, "/logferry/tasks/web", text("one"))
	r := run(t, testConfig(t, p.address()))
	r.until(map[string]string{"gone": "gone", "web": "one"})
	r.connected(true)

	p.cut()
	e.Put(t, "/logferry/tasks/web", text("two"))
	e.Put(t, "/logferry/tasks/new", text("new"))
	e.Delete(t, "/logferry/tasks/gone")
	e.Compact(t)
	p.open()
	r.until(map[string]string{"web": "two", "new": "new"})
	e.Put(t, "/logferry/tasks/web", text("three"))
	r.until(map[string]string{"web": "three", "new": "new"})
}

func TestAWatchFromBeforeACompactionSaysSo(t *testing.T) {
	e := etcdtest.Start(t)
	s, err := New(testConfig(t, e.Endpoints()...), quiet())
	require.NoError(t, err)
	client := e.Client(t)
	_, err = s.list(t.Context(), client)
	require.NoError(t, err)
	e.Put(t, "/logferry/tasks/web", text("one"))
	e.Put(t, "/logferry/tasks/web", text("two"))
	e.Compact(t)
	require.ErrorIs(t, s.watch(t.Context(), client), errCompacted)
}

func TestWhatChangedWhileEtcdWasAwayIsFound(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.WithMembers(3))
	e.Put(t, "/logferry/tasks/gone", text("gone"))
	e.Put(t, "/logferry/tasks/web", text("one"))
	cfg := testConfig(t, e.Endpoints()[0])
	cfg.WatchTimeout = 2 * time.Second
	r := run(t, cfg)
	r.until(map[string]string{"gone": "gone", "web": "one"})
	r.connected(true)

	e.Stop(t, 0)
	r.connected(false)
	r.failing("etcd")
	e.Put(t, "/logferry/tasks/web", text("two"))
	e.Delete(t, "/logferry/tasks/gone")
	e.Restart(t, 0)
	r.until(map[string]string{"web": "two"})
	r.connected(true)
	require.Empty(t, r.Status().LastError)
}

func TestOneOfThreeMembersMayStop(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.WithMembers(3))
	r := run(t, testConfig(t, e.Endpoints()...))
	r.next()
	e.Stop(t, 1)
	e.Put(t, "/logferry/tasks/web", text("one"))
	r.until(map[string]string{"web": "one"})
}

func TestAStartWithEtcdDownUsesTheCache(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	rev := e.Put(t, "/logferry/tasks/web", text("one"))
	first := run(t, cfg)
	first.until(map[string]string{"web": "one"})
	first.stop()
	e.Stop(t, 0)

	r := run(t, cfg)
	s := r.next()
	require.Equal(t, map[string]string{"web": "one"}, topics(s))
	require.Equal(t, rev, s.Revision)
	require.False(t, r.Connected())
	r.failing("cannot reach etcd at " + e.Endpoints()[0])

	e.Restart(t, 0)
	e.Put(t, "/logferry/tasks/web", text("two"))
	r.until(map[string]string{"web": "two"})
}

func TestAnEtcdThatAcceptsAndStaysSilentLeavesTheCacheInUse(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	e.Put(t, "/logferry/tasks/web", text("one"))
	first := run(t, cfg)
	first.until(map[string]string{"web": "one"})
	first.stop()

	for name, user := range map[string]string{"without login": "", "with login": "me"} {
		t.Run(name, func(t *testing.T) {
			silent := newSilentServer(t)
			cfg.Endpoints, cfg.Username, cfg.Password = []string{silent}, user, user
			cfg.RequestTimeout, cfg.DialTimeout = 200*time.Millisecond, 200*time.Millisecond
			r := run(t, cfg)
			require.Equal(t, map[string]string{"web": "one"}, topics(r.next()))
			r.failing(silent)
		})
	}
}

func TestASilentWatchIsReplaced(t *testing.T) {
	e := etcdtest.Start(t)
	p := newProxy(t, e.Endpoints()[0])
	e.Put(t, "/logferry/tasks/web", text("one"))
	cfg := testConfig(t, p.address())
	cfg.WatchTimeout, cfg.RequestTimeout = 500*time.Millisecond, 500*time.Millisecond
	r := run(t, cfg)
	r.until(map[string]string{"web": "one"})
	r.connected(true)
	p.freeze()
	e.Put(t, "/logferry/tasks/web", text("two"))
	r.until(map[string]string{"web": "two"})
	r.connected(true)
}

func TestAQuietWatchStaysAsItIs(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	cfg.WatchTimeout = time.Second
	s, err := New(cfg, quiet())
	require.NoError(t, err)
	e.Put(t, "/logferry/tasks/web", text("one"))
	e.Compact(t)
	client := e.Client(t)
	_, err = s.list(t.Context(), client)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 4*cfg.WatchTimeout)
	defer cancel()
	require.ErrorIs(t, s.watch(ctx, client), context.DeadlineExceeded)
}

func TestAListingCorrectsWhatTheWatchLost(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	cfg.ResyncInterval = 50 * time.Millisecond
	s, err := New(cfg, quiet())
	require.NoError(t, err)
	client := e.Client(t)
	e.Put(t, "/logferry/tasks/web", text("one"))
	_, err = s.list(t.Context(), client)
	require.NoError(t, err)
	<-s.outbox

	s.sets[0].remove("web")
	s.sets[0].put("ghost", value{raw: []byte(text("ghost")), rev: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.watch(ctx, client) })
	got := <-s.outbox
	cancel()
	wg.Wait()
	require.Equal(t, map[string]string{"web": "one"}, topics(got.snapshot))
}

func TestARefusedLoginStopsNothing(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	e.Put(t, "/logferry/tasks/web", text("one"))
	first := run(t, cfg)
	first.until(map[string]string{"web": "one"})
	first.stop()
	requireLogin(t, e.Client(t))

	cfg.Username, cfg.Password = "agent", "wrong"
	r := run(t, cfg)
	require.Equal(t, map[string]string{"web": "one"}, topics(r.next()))
	r.failing(`refuses the login of user "agent"; check username and password`)
	r.stop()

	cfg.Password = "right"
	r = run(t, cfg)
	r.connected(true)
	r.stop()

	cfg.Prefix, cfg.CachePath = "/secret", ""
	r = run(t, cfg)
	r.failing(`denies user "agent" the keys below /secret; grant its role access`)
}

// requireLogin turns authentication on, with a user who may read the tasks.
func requireLogin(t *testing.T, c *clientv3.Client) {
	t.Helper()
	ctx := t.Context()
	_, err := c.UserAdd(ctx, "root", "root")
	require.NoError(t, err)
	_, err = c.UserGrantRole(ctx, "root", "root")
	require.NoError(t, err)
	_, err = c.RoleAdd(ctx, "tasks")
	require.NoError(t, err)
	_, err = c.RoleGrantPermission(ctx, "tasks", "/logferry/", clientv3.GetPrefixRangeEnd("/logferry/"), clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	_, err = c.UserAdd(ctx, "agent", "right")
	require.NoError(t, err)
	_, err = c.UserGrantRole(ctx, "agent", "tasks")
	require.NoError(t, err)
	_, err = c.AuthEnable(ctx)
	require.NoError(t, err)
}

func TestASlowPublishGetsTheNewestSetAndHoldsUpNothing(t *testing.T) {
	e := etcdtest.Start(t)
	s, err := New(testConfig(t, e.Endpoints()...), quiet())
	require.NoError(t, err)
	entered, release := make(chan task.Snapshot), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.Run(ctx, func(snap task.Snapshot) {
			select {
			case entered <- snap:
			case <-ctx.Done():
			}
			<-release
		})
	})
	<-entered
	var last int64
	for i := range 20 {
		last = e.Put(t, "/logferry/tasks/web", text(fmt.Sprintf("v%d", i)))
	}
	require.Eventually(t, func() bool { return s.Status().Revision == last }, patience, 5*time.Millisecond)
	close(release)
	for snap := range entered {
		if topics(snap)["web"] == "v19" {
			break
		}
	}
	cancel()
	wg.Wait()
}

func TestACacheThatIsDamagedIsSetAside(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	require.NoError(t, os.WriteFile(cfg.CachePath, []byte(`{"version":1,"sha`), 0o600))
	e.Put(t, "/logferry/tasks/web", text("one"))
	r := run(t, cfg)
	r.until(map[string]string{"web": "one"})
	require.FileExists(t, cfg.CachePath+".damaged")
	_, err := loadCache(cfg.CachePath)
	require.NoError(t, err)
}

func TestACachedTaskIsHeldAgainstTodaysAllowPaths(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	e.Put(t, "/logferry/tasks/web", text("one"))
	first := run(t, cfg)
	first.until(map[string]string{"web": "one"})
	first.stop()
	e.Stop(t, 0)

	var err error
	cfg.AllowPaths, err = task.NewAllowList([]string{"/srv/**"})
	require.NoError(t, err)
	s := run(t, cfg).next()
	require.Empty(t, s.Tasks)
	require.Len(t, s.Refused, 1)
	require.Contains(t, s.Refused[0].Error, "reaches outside of allow_paths (/srv/**)")
}

func TestACacheThatCannotBeWrittenStopsNothing(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	cfg.CachePath = "/dev/null/tasks.json"
	r := run(t, cfg)
	r.next()
	e.Put(t, "/logferry/tasks/web", text("one"))
	r.until(map[string]string{"web": "one"})
}

func TestOnlyTasksThatSelectTheAgentReachIt(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	cfg.Identity = task.Identity{ID: "web-1", Host: "web-1.example", Labels: map[string]string{"env": "prod"}}
	e.Put(t, "/logferry/tasks/all", text("all"))
	e.Put(t, "/logferry/tasks/web", text("web")+"select: {hosts: [web-*]}\n")
	e.Put(t, "/logferry/tasks/db", "paths: [/srv/db/*.log]\ntopic: db\nselect: {hosts: [db-*]}\n")
	r := run(t, cfg)
	s := r.until(map[string]string{"all": "all", "web": "web"})
	require.Empty(t, s.Refused, "the allow_paths of an agent do not count where it is not meant")
	r.connected(true)
	require.Equal(t, 1, r.Status().Others)

	// A change of what is for others goes no further.
	last := e.Put(t, "/logferry/tasks/db", text("db2")+"select: {labels: {env: test}}\n")
	r.knows(last)
	require.Equal(t, last, r.Applied())
	last = e.Put(t, "/logferry/tasks/db", "paths: [wrong]\ntopic: db\nselect: {hosts: [db-*]}\n")
	r.knows(last)
	require.Empty(t, r.snapshots)

	e.Put(t, "/logferry/tasks/db", text("db3")+"select: {labels: {env: [test, prod]}}\n")
	r.until(map[string]string{"all": "all", "web": "web", "db": "db3"})
	require.Zero(t, r.Status().Others)
	e.Put(t, "/logferry/tasks/web", text("web")+"select: {hosts: [web-2.example]}\n")
	r.until(map[string]string{"all": "all", "db": "db3"})

	// What is not valid takes nothing away from an agent that runs the task.
	e.Put(t, "/logferry/tasks/db", "paths: [wrong]\ntopic: db\nselect: {hosts: [db-*]}\n")
	s = r.next()
	require.Equal(t, map[string]string{"all": "all", "db": "db3"}, topics(s))
	require.Len(t, s.Refused, 1)
	require.Contains(t, s.Refused[0].Error, `"wrong" is not an absolute path`)

	// Whom it is for cannot be told: everybody says so.
	e.Put(t, "/logferry/tasks/web", text("web")+"select: {host: [db-*]}\n")
	require.Len(t, r.next().Refused, 2)

	last = e.Put(t, "/logferry/tasks/db", text("db4")+"select: {hosts: [db-*]}\n")
	r.until(map[string]string{"all": "all"})
	e.Delete(t, "/logferry/tasks/db")
	r.knows(last + 1)
	require.Zero(t, r.Status().Others)
}

func TestAnAgentThatChangesDoNotSelectDoesNoWorkForThem(t *testing.T) {
	e := etcdtest.Start(t)
	cfg := testConfig(t, e.Endpoints()...)
	cfg.Identity = task.Identity{ID: "web-1", Host: "web-1", Labels: map[string]string{"app": "web"}}
	e.Put(t, "/logferry/tasks/web", text("web")+"select: {labels: {app: web}}\n")
	for _, name := range []string{"db-1", "db-2", "db-3"} {
		e.Put(t, "/logferry/tasks/"+name, text(name)+"select: {labels: {app: db}}\n")
	}
	r := run(t, cfg)
	r.until(map[string]string{"web": "web"})
	r.connected(true)
	before, err := os.Stat(cfg.CachePath)
	require.NoError(t, err)
	decoded := r.Status().decoded
	require.Equal(t, 3, decoded, "its own task, and each selector once")

	last := int64(0)
	for n := range 20 {
		last = e.Put(t, fmt.Sprintf("/logferry/tasks/db-%d", n%5), text(fmt.Sprint("db", n))+"select: {labels: {app: db}}\n")
	}
	r.knows(last)
	require.Equal(t, last, r.Applied())
	require.Equal(t, decoded, r.Status().decoded, "nothing is decoded")
	require.Equal(t, 5, r.Status().Others)
	require.Empty(t, r.snapshots, "nothing is handed on, so no state changes that would be reported")
	after, err := os.Stat(cfg.CachePath)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "and nothing is kept")

	// A text of which only a decoder can tell whom it is for is decoded.
	last = e.Put(t, "/logferry/tasks/db-1", `{"paths": ["/var/log/db"], "topic": "db", "select": {"labels": {"app": "db"}}}`)
	r.knows(last)
	require.Equal(t, decoded+1, r.Status().decoded)
	require.Empty(t, r.snapshots)
}

func TestTasksForOthersLeaveWithAListing(t *testing.T) {
	s := newTaskSet(Config{Prefix: "/logferry", Identity: task.Identity{ID: "a"}})
	others := []byte("paths: [/var/log/x]\ntopic: x\nselect: {ids: [b]}\n")
	require.False(t, s.replace(map[string]value{"one": {raw: others, rev: 1}, "two": {raw: others, rev: 2}}, nil, 2))
	require.Len(t, s.others, 2)
	require.False(t, s.replace(map[string]value{"two": {raw: others, rev: 3}}, nil, 3))
	require.Equal(t, map[string]value{"two": {raw: others, rev: 3}}, s.others)
}
