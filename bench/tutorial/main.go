// Command tutorial is the baseline of the benchmark: the shape in which
// tutorials ship log files to Kafka. nxadm/tail sends one line at a time into
// a channel, a loop makes a message of each, and sarama's AsyncProducer sends
// them. README.md says where the shape comes from and what it cannot do.
//
// It prints `mallocs N` when it has ended: how many objects it allocated.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/IBM/sarama"
	"github.com/nxadm/tail"
)

// queueLines is the capacity of the channel between files and producer.
const queueLines = 100_000

type options struct {
	dir, topic, brokers, codec string
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "directory of the files *.log")
	flag.StringVar(&o.topic, "topic", "", "topic to send to")
	flag.StringVar(&o.brokers, "brokers", "", "Kafka brokers, comma-separated")
	flag.StringVar(&o.codec, "codec", "lz4", "none, gzip, snappy, lz4 or zstd")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, o, os.Stdout, log); err != nil {
		log.Error("tutorial ended", "error", err)
		os.Exit(1)
	}
}

// run ships until ctx ends, then sends what was read and prints its count.
func run(ctx context.Context, o options, out io.Writer, log *slog.Logger) error {
	before := mallocs()
	paths, err := filepath.Glob(filepath.Join(o.dir, "*.log"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("find files in %s: %w", o.dir, errors.Join(err, os.ErrNotExist))
	}
	conf, err := producerConfig(o.codec)
	if err != nil {
		return err
	}
	producer, err := sarama.NewAsyncProducer(strings.Split(o.brokers, ","), conf)
	if err != nil {
		return fmt.Errorf("make a producer: %w", err)
	}
	lines := make(chan string, queueLines)
	tails, err := tailAll(paths, lines)
	if err == nil {
		produce(ctx, producer, o.topic, lines, log)
	}
	err = errors.Join(err, tails.stop(lines), producer.Close())
	fmt.Fprintln(out, "mallocs", mallocs()-before)
	return err
}

// producerConfig is sarama's defaults, with what tutorials set and the two
// settings that are the same for all that the benchmark compares.
func producerConfig(codec string) (*sarama.Config, error) {
	conf := sarama.NewConfig()
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Return.Successes = true
	if err := conf.Producer.Compression.UnmarshalText([]byte(codec)); err != nil {
		return nil, fmt.Errorf("codec %q: %w", codec, err)
	}
	return conf, nil
}

// produce makes a message of each line until ctx ends, and drains what the
// producer says of them beside it.
func produce(ctx context.Context, producer sarama.AsyncProducer, topic string, lines <-chan string, log *slog.Logger) {
	done := make(chan struct{})
	var drain sync.WaitGroup
	drain.Go(func() {
		for {
			select {
			case <-producer.Successes():
			case err := <-producer.Errors():
				log.Error("a line was not sent", "error", err)
			case <-done:
				return
			}
		}
	})
	defer drain.Wait()
	defer close(done)
	for {
		select {
		case line := <-lines:
			select {
			case producer.Input() <- &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(line)}:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// tails are the files that are followed.
type tails struct {
	files  []*tail.Tail
	copies sync.WaitGroup
}

func tailAll(paths []string, lines chan<- string) (*tails, error) {
	t := &tails{}
	for _, path := range paths {
		f, err := tail.TailFile(path, tail.Config{Follow: true, ReOpen: true, MustExist: true, Logger: tail.DiscardingLogger})
		if err != nil {
			return t, fmt.Errorf("tail %s: %w", path, err)
		}
		t.files = append(t.files, f)
		t.copies.Go(func() {
			for line := range f.Lines {
				lines <- line.Text
			}
		})
	}
	return t, nil
}

// stop ends all tails. What stands in lines is thrown away: the shape keeps no
// offsets, so nothing is gained by sending it.
func (t *tails) stop(lines chan string) error {
	stopped := make(chan struct{})
	var err error
	go func() {
		defer close(stopped)
		for _, f := range t.files {
			err = errors.Join(err, f.Stop())
		}
		t.copies.Wait()
	}()
	for {
		select {
		case <-lines:
		case <-stopped:
			return err
		}
	}
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
