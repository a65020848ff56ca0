package localkafka

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// State says what a node's process does.
type State string

const (
	Running State = "running"
	Paused  State = "paused" // stopped by Pause
	Down    State = "down"   // no process
)

// State returns what the node's process does now.
func (c *Cluster) State(i int) (State, error) {
	n, err := c.node(i)
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.running():
		return Down, nil
	case n.paused:
		return Paused, nil
	}
	return Running, nil
}

// Pause freezes a node with SIGSTOP: its connections stay open and nothing
// answers. It returns when the process stands still.
func (c *Cluster) Pause(i int) error {
	return c.control(i, "pause", func(n *node) error {
		if err := n.proc.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		n.paused = true
		return n.proc.waitStopped()
	})
}

// Continue lets a paused node run on.
func (c *Cluster) Continue(i int) error {
	return c.control(i, "continue", func(n *node) error {
		n.paused = false
		return n.proc.signal(syscall.SIGCONT)
	})
}

// Kill ends a node with SIGKILL and returns when the process is gone.
func (c *Cluster) Kill(i int) error {
	return c.control(i, "kill", func(n *node) error {
		n.terminate(0)
		return nil
	})
}

// Stop ends a node with SIGTERM and waits for its graceful shutdown until ctx
// ends. A node that still runs then is left alone.
func (c *Cluster) Stop(ctx context.Context, i int) error {
	return c.control(i, "stop", func(n *node) error {
		n.paused = false
		if err := errors.Join(n.proc.signal(syscall.SIGCONT), n.proc.signal(syscall.SIGTERM)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.proc.exited:
			return nil
		}
	})
}

// control does something with the process of a node that is up.
func (c *Cluster) control(i int, what string, do func(*node) error) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() {
		return fmt.Errorf("%s kafka node %d: it is not running", what, i)
	}
	if err := do(n); err != nil {
		return fmt.Errorf("%s kafka node %d: %w", what, i, err)
	}
	c.log.Info("kafka node: "+what, "node", i)
	return nil
}

// Restart starts nodes that are down on their old data and ports, and returns
// when they serve again. Nodes that can only reach a quorum together must be
// named in one call.
func (c *Cluster) Restart(ctx context.Context, nodes ...int) error {
	return c.restart(ctx, nodes, func(*node) error { return nil })
}

// RestartElsewhere is Restart with a new client port for each of the nodes, as
// when a broker comes back at another address. Brokers tells the new one.
func (c *Cluster) RestartElsewhere(ctx context.Context, nodes ...int) error {
	return c.restart(ctx, nodes, (*node).moveClientPort)
}

func (c *Cluster) restart(ctx context.Context, nodes []int, before func(*node) error) error {
	var started []*node
	for _, i := range nodes {
		n, err := c.node(i)
		if err != nil {
			return err
		}
		if err := c.relaunch(n, before); err != nil {
			return fmt.Errorf("restart kafka node %d: %w", i, err)
		}
		started = append(started, n)
	}
	for _, n := range started {
		if err := n.waitReady(ctx, 1); err != nil {
			return fmt.Errorf("restart kafka node %d: %w", n.id, err)
		}
		c.log.Info("kafka node: restart", "node", n.id)
	}
	return nil
}

func (c *Cluster) relaunch(n *node, before func(*node) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running() {
		return errors.New("it is running")
	}
	if err := before(n); err != nil {
		return err
	}
	if err := c.writeProperties(n); err != nil {
		return err
	}
	return c.launch(n)
}

// waitStopped waits until the kernel shows the process as stopped.
func (p *process) waitStopped() error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(10 * time.Second)
	for {
		if s, err := p.kernelState(); err != nil || s == 'T' {
			return err
		}
		select {
		case <-tick.C:
		case <-timeout:
			return errors.New("process does not stop")
		}
	}
}
