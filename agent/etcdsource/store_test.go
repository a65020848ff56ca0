package etcdsource

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/agent/task"
	"logferry/test/etcdtest"
)

func TestTheStorePutsListsGetsAndDeletes(t *testing.T) {
	e := etcdtest.Start(t)
	store, err := OpenStore(testConfig(t, e.Endpoints()...), quiet())
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	ctx := t.Context()

	_, err = store.Get(ctx, "web")
	require.ErrorIs(t, err, ErrNotFound)
	require.EqualError(t, err, `get task "web": no such task in etcd`)
	_, err = store.Delete(ctx, "web")
	require.ErrorIs(t, err, ErrNotFound)

	created, err := store.Put(ctx, "web", []byte(text("one")))
	require.NoError(t, err)
	require.Equal(t, Entry{Name: "web", Raw: []byte(text("one")), Created: created.Created, Modified: created.Created, Version: 1}, created)
	updated, err := store.Put(ctx, "web", []byte(text("two")))
	require.NoError(t, err)
	require.Equal(t, int64(2), updated.Version)
	_, err = store.Put(ctx, "app", []byte(text("app")))
	require.NoError(t, err)

	got, err := store.Get(ctx, "web")
	require.NoError(t, err)
	require.Equal(t, updated, got)
	all, rev, err := store.List(ctx)
	require.NoError(t, err)
	require.Equal(t, updated.Modified+1, rev)
	require.Len(t, all, 2)
	require.Equal(t, []string{"app", "web"}, []string{all[0].Name, all[1].Name})

	deleted, err := store.Delete(ctx, "web")
	require.NoError(t, err)
	require.Equal(t, rev+1, deleted)
	require.Equal(t, map[string]string{"/logferry/tasks/app": text("app")}, e.Get(t, "/logferry/"))
}

func TestTheStoreRefusesNamesAndSizesBeforeItConnects(t *testing.T) {
	store, err := OpenStore(testConfig(t, "127.0.0.1:1"), quiet())
	require.NoError(t, err)
	_, err = store.Put(t.Context(), "a/b", nil)
	require.EqualError(t, err, `put task: name: "a/b" is not a valid name; use 1 to 128 of the letters a-z A-Z 0-9 . _ -`)
	_, err = store.Put(t.Context(), "a", make([]byte, task.MaxBytes+1))
	require.EqualError(t, err, `put task "a": 262145 bytes are too many, the limit is 256KiB`)
}

func TestTheStoreSaysWhyEtcdCannotBeReached(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	store, err := OpenStore(testConfig(t, address), quiet())
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	_, _, err = store.List(t.Context())
	require.ErrorContains(t, err, "list tasks: cannot reach etcd at "+address+"; check that it runs and the endpoints are right")
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "\n")
}

func TestTheStoreGivesUpOnASilentServer(t *testing.T) {
	for name, user := range map[string]string{"without login": "", "with login": "me"} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, newSilentServer(t))
			cfg.RequestTimeout, cfg.DialTimeout = 100*time.Millisecond, 10*time.Second
			cfg.Username, cfg.Password = user, user
			store, err := OpenStore(cfg, quiet())
			require.NoError(t, err)
			defer func() { require.NoError(t, store.Close()) }()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err = store.Get(ctx, "web")
			require.ErrorContains(t, err, cfg.Endpoints[0])
			require.NoError(t, ctx.Err())
		})
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, `etcd endpoints: none given; list them, such as 127.0.0.1:2379`},
		{Config{Endpoints: []string{"localhost"}}, `etcd endpoints[0]: "localhost" has no host and port; write HOST:2379`},
		{Config{Endpoints: []string{"ftp://a:1"}}, `etcd endpoints[0]: "ftp://a:1" is not a URL of etcd; write https://HOST:2379 or HOST:2379`},
		{Config{Endpoints: []string{"a:1", "http://b"}}, `etcd endpoints[1]: "http://b" has no host and port; write HOST:2379`},
		{Config{Endpoints: []string{"a:1"}, Prefix: "x"}, `etcd prefix: "x" does not begin with /; write /logferry or the like`},
		{Config{Endpoints: []string{"a:1"}, Password: "x"}, `etcd username: is missing while a password is set; give both or none`},
		{Config{Endpoints: []string{"a:1"}, DialTimeout: -1}, `etcd timeouts: must be positive; leave them out for the defaults`},
	} {
		_, err := New(c.cfg, quiet())
		require.EqualError(t, err, c.want)
		_, err = OpenStore(c.cfg, quiet())
		require.EqualError(t, err, c.want)
	}
}
