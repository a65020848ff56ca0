package kafka

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"

	"logferry/internal/lz4"
)

// compressor compresses the records of one batch in the form that Kafka wants
// for its codec. Safe for use from several goroutines.
type compressor interface {
	// compress appends src to dst, compressed.
	compress(dst, src []byte) ([]byte, error)
}

// newCompressor makes the compressor for a codec. A level of
// sarama.CompressionLevelDefault means the codec's own.
func newCompressor(codec sarama.CompressionCodec, level int) (compressor, error) {
	switch codec {
	case sarama.CompressionNone:
		return verbatim{}, nil
	case sarama.CompressionLZ4:
		return lz4Compressor{}, nil
	case sarama.CompressionSnappy:
		return snappyCompressor{}, nil
	case sarama.CompressionGZIP:
		return newGzip(level)
	case sarama.CompressionZSTD:
		return newZstd(level)
	}
	return nil, fmt.Errorf("compression codec %s is unknown", codec)
}

type verbatim struct{}

func (verbatim) compress(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }

type snappyCompressor struct{}

func (snappyCompressor) compress(dst, src []byte) ([]byte, error) {
	return xerial.Encode(dst, src), nil
}

type lz4Compressor struct{}

func (lz4Compressor) compress(dst, src []byte) ([]byte, error) {
	return lz4.AppendFrame(dst, src), nil
}

type gzipCompressor struct{ writers sync.Pool }

func newGzip(level int) (*gzipCompressor, error) {
	if level == sarama.CompressionLevelDefault {
		level = gzip.DefaultCompression
	}
	if _, err := gzip.NewWriterLevel(nil, level); err != nil {
		return nil, fmt.Errorf("make a gzip writer: %w", err)
	}
	return &gzipCompressor{sync.Pool{New: func() any {
		w, _ := gzip.NewWriterLevel(nil, level)
		return w
	}}}, nil
}

func (c *gzipCompressor) compress(dst, src []byte) ([]byte, error) {
	w := c.writers.Get().(*gzip.Writer)
	defer c.writers.Put(w)
	out := bytes.NewBuffer(dst)
	w.Reset(out)
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

type zstdCompressor struct{ encoder *zstd.Encoder }

func newZstd(level int) (zstdCompressor, error) {
	l := zstd.SpeedDefault
	if level != sarama.CompressionLevelDefault {
		l = zstd.EncoderLevelFromZstd(level)
	}
	// A batch is about as large as the window, so a larger one would only take memory.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(l), zstd.WithZeroFrames(true),
		zstd.WithEncoderConcurrency(processors), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return zstdCompressor{}, fmt.Errorf("make a zstd writer: %w", err)
	}
	return zstdCompressor{e}, nil
}

func (c zstdCompressor) compress(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst), nil
}
