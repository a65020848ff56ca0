package etcdtest

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const rootPassword = "root's password"

// EnableAuth asks every client for a login from here on. The cluster's own
// methods go on as root.
func (c *Cluster) EnableAuth(t testing.TB) {
	t.Helper()
	c.do(t, func(ctx context.Context, client *clientv3.Client) error {
		if _, err := client.UserAdd(ctx, "root", rootPassword); err != nil {
			return err
		}
		if _, err := client.UserGrantRole(ctx, "root", "root"); err != nil {
			return err
		}
		_, err := client.AuthEnable(ctx)
		return err
	})
	c.login.Username, c.login.Password = "root", rootPassword
}

// AddUser adds a user with a role of the same name that may do nothing yet.
func (c *Cluster) AddUser(t testing.TB, name, password string) {
	t.Helper()
	c.do(t, func(ctx context.Context, client *clientv3.Client) error {
		if _, err := client.UserAdd(ctx, name, password); err != nil {
			return err
		}
		if _, err := client.RoleAdd(ctx, name); err != nil {
			return err
		}
		_, err := client.UserGrantRole(ctx, name, name)
		return err
	})
}

// SetPassword changes a user's password. Logins that exist end with it.
func (c *Cluster) SetPassword(t testing.TB, name, password string) {
	t.Helper()
	c.do(t, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.UserChangePassword(ctx, name, password)
		return err
	})
}

// Rights of a user on a prefix of keys.
const (
	Read      = clientv3.PermissionType(clientv3.PermRead)
	ReadWrite = clientv3.PermissionType(clientv3.PermReadWrite)
)

// Grant gives a user of AddUser a right on all keys that begin with prefix.
func (c *Cluster) Grant(t testing.TB, name, prefix string, right clientv3.PermissionType) {
	t.Helper()
	c.do(t, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.RoleGrantPermission(ctx, name, prefix, clientv3.GetPrefixRangeEnd(prefix), right)
		return err
	})
}

// Revoke takes back what Grant gave.
func (c *Cluster) Revoke(t testing.TB, name, prefix string) {
	t.Helper()
	c.do(t, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.RoleRevokePermission(ctx, name, prefix, clientv3.GetPrefixRangeEnd(prefix))
		return err
	})
}
