package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"logferry/test/etcdtest/localetcd"
)

// etcdTimeout bounds each single step of etcd's process.
const etcdTimeout = 2 * time.Minute

// reply is one line that etcd's process prints: after its start, and for each
// order.
type reply struct {
	Endpoints []string `json:"endpoints"`
	Error     string   `json:"error,omitempty"`
}

// serveEtcd runs the members and takes orders from in, one a line: "stop 0 1"
// and "start 0 1". It ends with in.
func serveEtcd(ctx context.Context, opts options, in io.Reader, out io.Writer) error {
	start, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	cluster, err := localetcd.Start(start, localetcd.Config{Members: opts.members, Dir: opts.etcd, Durable: true})
	if err != nil {
		return err
	}
	answer := json.NewEncoder(out)
	if err := answer.Encode(reply{Endpoints: cluster.Endpoints()}); err != nil {
		return errors.Join(err, cluster.Close())
	}
	for orders := bufio.NewScanner(in); orders.Scan(); {
		var r reply
		if err := obey(ctx, cluster, orders.Text()); err != nil {
			r.Error = err.Error()
		}
		if err := answer.Encode(r); err != nil {
			return errors.Join(err, cluster.Close())
		}
	}
	return cluster.Close()
}

func obey(ctx context.Context, cluster *localetcd.Cluster, order string) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	words := strings.Fields(order)
	var members []int
	for _, w := range words[1:] {
		n, err := strconv.Atoi(w)
		if err != nil {
			return err
		}
		members = append(members, n)
	}
	if words[0] == "start" {
		return cluster.Restart(ctx, members...)
	}
	var errs []error
	for _, m := range members {
		errs = append(errs, cluster.Stop(m))
	}
	return errors.Join(errs...)
}

// etcd is the process of all members. It belongs to one goroutine.
type etcd struct {
	cmd       *exec.Cmd
	orders    io.WriteCloser
	replies   *bufio.Scanner
	endpoints []string
}

// startEtcd runs this program once more, as etcd.
func startEtcd(opts options, dir string) (*etcd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e := &etcd{cmd: exec.Command(self, "-etcd", dir, "-members", strconv.Itoa(opts.members))}
	e.cmd.Env = append(os.Environ(), etcdMark+"=1")
	e.cmd.Stderr = os.Stderr
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if e.orders, err = e.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	e.replies = bufio.NewScanner(out)
	if err := e.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	r, err := e.reply()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd: %w", err), e.close())
	}
	e.endpoints = r.Endpoints
	return e, nil
}

// etcdMark in the environment tells a test's binary that it is to be etcd.
const etcdMark = "LOGFERRY_BENCH_FLEET_ETCD"

func (e *etcd) reply() (r reply, err error) {
	if !e.replies.Scan() {
		return r, errors.Join(errors.New("its process has ended"), e.replies.Err())
	}
	if err := json.Unmarshal(e.replies.Bytes(), &r); err != nil {
		return r, fmt.Errorf("it said %q: %w", e.replies.Text(), err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// order is "stop" or "start" with the members' numbers.
func (e *etcd) order(verb string, members []int) error {
	text := verb
	for _, m := range members {
		text += " " + strconv.Itoa(m)
	}
	if _, err := fmt.Fprintln(e.orders, text); err != nil {
		return fmt.Errorf("%s etcd: %w", text, err)
	}
	if _, err := e.reply(); err != nil {
		return fmt.Errorf("%s etcd: %w", text, err)
	}
	return nil
}

// close ends the process.
func (e *etcd) close() error {
	_ = e.orders.Close()
	ended := time.AfterFunc(etcdTimeout, func() { _ = e.cmd.Process.Kill() })
	defer ended.Stop()
	if err := e.cmd.Wait(); err != nil {
		return fmt.Errorf("etcd's process: %w", err)
	}
	return nil
}
