package localkafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"logferry/test/ports"
)

// errPortTaken is in the chain when a node could not listen on its port.
var errPortTaken = errors.New("port taken")

const readyPoll = 50 * time.Millisecond

// node is one broker and controller.
type node struct {
	id  int
	dir string

	mu         sync.Mutex // held while the process is started, signalled or waited for
	proc       *process   // the latest one; nil before the first
	paused     bool
	client     int   // port for clients and other brokers
	controller int   // port of the controllers' quorum
	front      int   // port for clients that come through a proxy
	doors      []int // ports of Config.Listeners
	reserved   []*ports.Reservation

	addrMu  sync.Mutex // guards address alone, which is read at any time
	address string
}

func (n *node) logFile() string { return filepath.Join(n.dir, "server.log") }

func (n *node) addr() string {
	n.addrMu.Lock()
	defer n.addrMu.Unlock()
	return n.address
}

func (n *node) setClientPort(port int) {
	n.addrMu.Lock()
	defer n.addrMu.Unlock()
	n.client = port
	n.address = fmt.Sprintf("127.0.0.1:%d", port)
}

func (n *node) reservePorts(doors int) error {
	r, err := ports.Reserve(3 + doors)
	if err != nil {
		return err
	}
	n.reserved = append(n.reserved, r)
	n.setClientPort(r.Ports[0])
	n.controller, n.front, n.doors = r.Ports[1], r.Ports[2], r.Ports[3:]
	return nil
}

// moveClientPort keeps the old port reserved: nothing else may answer there.
func (n *node) moveClientPort() error {
	r, err := ports.Reserve(1)
	if err != nil {
		return err
	}
	n.reserved = append(n.reserved, r)
	n.setClientPort(r.Ports[0])
	return nil
}

func (n *node) releasePorts() {
	for _, r := range n.reserved {
		_ = r.Release()
	}
	n.reserved = nil
}

// running needs n.mu.
func (n *node) running() bool { return n.proc != nil && !n.proc.gone() }

// terminate ends the process and waits for it: SIGTERM, and SIGKILL after
// grace. It needs n.mu.
func (n *node) terminate(grace time.Duration) {
	if n.proc == nil {
		return
	}
	n.paused = false
	if grace > 0 {
		_ = n.proc.signal(syscall.SIGCONT)
		_ = n.proc.signal(syscall.SIGTERM)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-n.proc.exited:
			return
		case <-timer.C:
		}
	}
	_ = n.proc.signal(syscall.SIGKILL)
	<-n.proc.exited
}

// waitReady returns when the node answers a metadata request in which it and
// at least brokers in all are alive.
func (n *node) waitReady(ctx context.Context, brokers int) error {
	n.mu.Lock()
	proc := n.proc
	n.mu.Unlock()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := n.ask(brokers)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for kafka node %d: %w (%w)\n%s", n.id, ctx.Err(), err, n.logTail())
		case <-proc.exited:
			tail := n.logTail()
			err := fmt.Errorf("kafka node %d ended: %w\n%s", n.id, proc.err, tail)
			if bytes.Contains(tail, []byte("BindException")) || bytes.Contains(tail, []byte("Address already in use")) {
				err = fmt.Errorf("%w: %w", errPortTaken, err)
			}
			return err
		case <-tick.C:
		}
	}
}

// ask makes one metadata round trip with this very node.
func (n *node) ask(brokers int) (err error) {
	conf := clientConfig()
	conf.Net.DialTimeout, conf.Net.ReadTimeout = time.Second, 2*time.Second
	b := sarama.NewBroker(n.addr())
	if err := b.Open(conf); err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	resp, err := b.GetMetadata(sarama.NewMetadataRequest(conf.Version, nil))
	if err != nil {
		return err
	}
	self := false
	for _, other := range resp.Brokers {
		self = self || other.Addr() == n.addr()
	}
	if !self || len(resp.Brokers) < brokers {
		return fmt.Errorf("%d of %d brokers registered", len(resp.Brokers), brokers)
	}
	return nil
}

// logTail returns the end of the node's log.
func (n *node) logTail() []byte {
	f, err := os.Open(n.logFile())
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(-16<<10, io.SeekEnd); err != nil {
		_, _ = f.Seek(0, io.SeekStart)
	}
	b, _ := io.ReadAll(f)
	return b
}
