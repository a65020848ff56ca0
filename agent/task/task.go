// Package task says WHAT to ship: a Task is plain data that names files and a
// topic. Tasks come from a Source as whole snapshots; the supervisor compares
// each snapshot with what runs.
package task

import "time"

// Task is one collection task, as an operator writes it. Paths and Topic are
// enough; everything else has a default that SetDefaults fills in.
//
// A Task is a value: it is never changed after it was decoded and may be read
// from any goroutine.
type Task struct {
	// Name is the etcd key below PREFIX/tasks/, or the file's base name
	// without its extension, unless the file sets it.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`

	Paths   []string `yaml:"paths" json:"paths"`                         // absolute doublestar globs
	Exclude []string `yaml:"exclude,omitempty" json:"exclude,omitempty"` // globs; matched against the whole path, or the base name when they hold no slash
	Topic   string   `yaml:"topic" json:"topic"`                         // a name, or a template of names

	TopicsAllowed []string `yaml:"topics_allowed,omitempty" json:"topics_allowed,omitempty"` // with a template: globs of what it may make
	TopicFallback string   `yaml:"topic_fallback,omitempty" json:"topic_fallback,omitempty"` // with a template: where records go for which it makes anything else
	MaxTopics     int      `yaml:"max_topics,omitempty" json:"max_topics,omitempty"`         // with a template: most topics on one agent, without the fallback; 0: DefaultMaxTopics

	Cluster string `yaml:"cluster,omitempty" json:"cluster,omitempty"` // named Kafka cluster; empty: the default one

	Select *Selector `yaml:"select,omitempty" json:"select,omitempty"` // the agents that it is for; nil: all
	Paused bool      `yaml:"paused,omitempty" json:"paused,omitempty"` // its agents collect nothing for it and keep its place

	From string `yaml:"from,omitempty" json:"from,omitempty"` // the task whose place in its files this one takes when it first starts on an agent; empty: none

	Rollout *Rollout `yaml:"rollout,omitempty" json:"rollout,omitempty"` // how a change reaches its agents; nil: all at once. Local tasks ignore it

	Once bool `yaml:"once,omitempty" json:"once,omitempty"` // the files that are there are read to their ends, and nothing more
	Pipe bool `yaml:"pipe,omitempty" json:"pipe,omitempty"` // paths are those of named pipes

	Start         Start         `yaml:"start,omitempty" json:"start,omitempty"`
	IgnoreOlder   time.Duration `yaml:"ignore_older,omitempty" json:"ignore_older,omitempty"`     // files unchanged for longer are left alone; 0: none
	CloseInactive time.Duration `yaml:"close_inactive,omitempty" json:"close_inactive,omitempty"` // a quiet file's descriptor is closed after this long
	RotateWait    time.Duration `yaml:"rotate_wait,omitempty" json:"rotate_wait,omitempty"`       // how long a rotated file must be quiet before it is let go
	Poll          bool          `yaml:"poll,omitempty" json:"poll,omitempty"`                     // no inotify, for network file systems
	PollInterval  time.Duration `yaml:"poll_interval,omitempty" json:"poll_interval,omitempty"`   // how often files are looked at with poll

	Format Format `yaml:"format,omitempty" json:"format,omitempty"` // what the files' lines are wrapped in

	MaxLineBytes ByteSize `yaml:"max_line_bytes,omitempty" json:"max_line_bytes,omitempty"`
	LongLines    LongLine `yaml:"long_lines,omitempty" json:"long_lines,omitempty"`
	KeepCR       bool     `yaml:"keep_cr,omitempty" json:"keep_cr,omitempty"` // keep the \r of a line that ends in \r\n

	Encoding    string      `yaml:"encoding,omitempty" json:"encoding,omitempty"`         // of the files' text; empty or utf-8: their bytes are sent as they are
	InvalidText InvalidText `yaml:"invalid_text,omitempty" json:"invalid_text,omitempty"` // with an encoding

	Multiline *Multiline `yaml:"multiline,omitempty" json:"multiline,omitempty"` // nil: each line is a record

	Filter *Filter `yaml:"filter,omitempty" json:"filter,omitempty"` // nil: every line is sent as it is

	Value       Value             `yaml:"value,omitempty" json:"value,omitempty"`
	ValueFields []string          `yaml:"value_fields,omitempty" json:"value_fields,omitempty"` // with value: json; none: DefaultValueFields
	Headers     map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`           // templates by name; nil: what records have by themselves
	Timestamp   Timestamp         `yaml:"timestamp,omitempty" json:"timestamp,omitempty"`
	ParseTime   *ParseTime        `yaml:"parse_time,omitempty" json:"parse_time,omitempty"` // with timestamp: parsed

	Fields      *Fields     `yaml:"fields,omitempty" json:"fields,omitempty"` // nil: none are taken out of the text
	Key         Key         `yaml:"key,omitempty" json:"key,omitempty"`
	Partitioner Partitioner `yaml:"partitioner,omitempty" json:"partitioner,omitempty"`
	Partition   int32       `yaml:"partition,omitempty" json:"partition,omitempty"` // with partitioner: manual

	CreateTopic *CreateTopic `yaml:"create_topic,omitempty" json:"create_topic,omitempty"` // nil: the cluster's setting
	DeadLetter  *DeadLetter  `yaml:"dead_letter,omitempty" json:"dead_letter,omitempty"`   // nil: the cluster's setting
}

// Start says where reading of a file begins that has no committed offset.
type Start string

const (
	StartBeginning Start = "beginning" // every line that is in the file (default)
	StartEnd       Start = "end"       // files found at the first look: only what is appended later; later files: all
)

// Format says what the lines of a file are wrapped in by what wrote them.
type Format string

const (
	FormatAuto   Format = "auto"   // cri or docker, as each line shows, in the directories where container runtimes keep their logs; otherwise raw (default)
	FormatRaw    Format = "raw"    // nothing
	FormatCRI    Format = "cri"    // TIME STREAM FLAG TEXT, of containerd and CRI-O
	FormatDocker Format = "docker" // {"log":TEXT,"stream":STREAM,"time":TIME}, of Docker's json-file
)

// LongLine says what happens to a line longer than max_line_bytes.
type LongLine string

const (
	LongLineCut  LongLine = "cut"  // its first max_line_bytes are sent with a header that marks them (default)
	LongLineDrop LongLine = "drop" // it is counted and left out
)

// InvalidText says what happens to what cannot be decoded.
type InvalidText string

const (
	InvalidTextReplace InvalidText = "replace" // U+FFFD stands for it (default)
	InvalidTextRaw     InvalidText = "raw"     // its record is sent as it stands in the file, with a header that names the encoding
)

// Value says what a record's value is.
type Value string

const (
	ValueRaw  Value = "raw"  // its text (default)
	ValueJSON Value = "json" // a JSON object that holds the text
)

// Timestamp says what a record's timestamp is.
type Timestamp string

const (
	TimestampContainer Timestamp = "container" // the runtime's of a container's line, and when any other was read (default)
	TimestampRead      Timestamp = "read"      // when it was read
	TimestampParsed    Timestamp = "parsed"    // what ParseTime reads of its text; otherwise that of container
)

// Key says which key a record gets: one of the words below, or a template.
type Key string

const (
	KeyNone Key = ""     // no key (default)
	KeyHost Key = "host" // the agent's id
	KeyPath Key = "path" // the file's path
)

// Partitioner names the rule that picks a record's partition. The four that
// hash the key need Task.Key to keep anything together: without one, hash and
// reference_hash pick a random partition for each record, and crc32 and murmur2 do as
// their models do with a missing key.
type Partitioner string

const (
	PartitionFile          Partitioner = "file"           // all lines of a path to one partition (default)
	PartitionSticky        Partitioner = "sticky"         // the partitions in turn, 16 KiB or more each
	PartitionRoundRobin    Partitioner = "round_robin"    // the partitions in turn, record by record
	PartitionRandom        Partitioner = "random"         // any, record by record
	PartitionHash          Partitioner = "hash"           // sarama's FNV-1a of the key
	PartitionReferenceHash Partitioner = "reference_hash" // sarama's reference FNV-1a of the key
	PartitionCRC32         Partitioner = "crc32"          // IEEE CRC-32 of the key, as librdkafka's consistent
	PartitionMurmur2       Partitioner = "murmur2"        // the Java client's hash of the key
	PartitionManual        Partitioner = "manual"         // always Task.Partition
)

// CreateTopic asks for a topic to be created when it does not exist.
type CreateTopic struct {
	Partitions        int32 `yaml:"partitions,omitempty" json:"partitions,omitempty"`                 // 0: the broker's default
	ReplicationFactor int16 `yaml:"replication_factor,omitempty" json:"replication_factor,omitempty"` // 0: the broker's default
}

// DeadLetter says where records go that Kafka will never take. Either Topic or
// File is set; the bounds are those of File, and 0 stands for their defaults.
type DeadLetter struct {
	Topic    string   `yaml:"topic,omitempty" json:"topic,omitempty"`
	File     string   `yaml:"file,omitempty" json:"file,omitempty"`
	MaxBytes ByteSize `yaml:"max_bytes,omitempty" json:"max_bytes,omitempty"` // at which the file is rotated away
	MaxFiles int      `yaml:"max_files,omitempty" json:"max_files,omitempty"` // rotated files that are kept
}

// ByteSize is a number of bytes, written as 1048576, "1MiB", "64KiB" or "1MB".
type ByteSize int64
