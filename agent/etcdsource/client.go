package etcdsource

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// unaryRetries is how often the client itself tries a request again, each
// time with another member. Whoever needs patience beyond that has it.
const unaryRetries = 3

// dial returns a client, logged in if a user is set. ctx bounds the client's
// life. The client says nothing by itself: each of its errors reaches a
// caller here, who logs it. secure may be nil.
func dial(ctx context.Context, cfg Config, secure *fileCredentials) (*clientv3.Client, error) {
	password, err := cfg.password()
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{grpc.WithChainUnaryInterceptor(failFast)}
	if secure != nil {
		options = append(options, grpc.WithTransportCredentials(secure))
	}
	return clientv3.New(clientv3.Config{
		Context:              ctx,
		Endpoints:            cfg.Endpoints,
		Username:             cfg.Username,
		Password:             password,
		DialTimeout:          cfg.DialTimeout,
		DialKeepAliveTime:    cfg.WatchTimeout / 3,
		DialKeepAliveTimeout: cfg.RequestTimeout,
		MaxUnaryRetries:      unaryRetries,
		Logger:               zap.NewNop(),
		DialOptions:          options,
	})
}

// failFast lets a request fail with its cause, such as "connection refused",
// where the client would otherwise wait for its deadline to say nothing.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
}

// is finds etcd's own errors also where only their words are left, as in the
// reason of a cancelled watch.
func is(err, target error) bool {
	return errors.Is(err, target) || err != nil && strings.Contains(err.Error(), target.Error())
}

// explain turns an error of the client into one line with a remedy.
func explain(cfg Config, err error) error {
	at := strings.Join(cfg.Endpoints, ", ")
	switch code := status.Code(err); {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case is(err, rpctypes.ErrUserEmpty) && cfg.Username == "":
		return fmt.Errorf("etcd at %s asks for a login; set username and password: %w", at, err)
	case is(err, rpctypes.ErrInvalidAuthToken), is(err, rpctypes.ErrAuthOldRevision):
		return fmt.Errorf("etcd at %s has ended the login of user %q, it is renewed: %w", at, cfg.Username, err)
	case is(err, rpctypes.ErrAuthFailed), is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("etcd at %s refuses the login of user %q; check username and password: %w", at, cfg.Username, err)
	case is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("etcd at %s denies user %q the keys below %s; grant its role access to that prefix: %w", at, cfg.Username, cfg.Prefix, err)
	case tlsRemedy(cfg, err) != "":
		return fmt.Errorf("no TLS connection to etcd at %s; %s: %w", at, tlsRemedy(cfg, err), err)
	case errors.Is(err, context.DeadlineExceeded), code == codes.DeadlineExceeded:
		return fmt.Errorf("no answer in time from etcd at %s; check that it runs, has a leader, and can be reached: %w", at, err)
	case code == codes.Unavailable:
		return fmt.Errorf("cannot reach etcd at %s; check that it runs and the endpoints are right: %w", at, err)
	default:
		return fmt.Errorf("etcd at %s: %w", at, err)
	}
}
