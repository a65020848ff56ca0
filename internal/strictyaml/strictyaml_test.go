package strictyaml_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"logferry/internal/strictyaml"
)

type target struct {
	Name    string            `yaml:"name"`
	Paths   []string          `yaml:"paths"`
	Labels  map[string]string `yaml:"labels"`
	Wait    time.Duration     `yaml:"wait"`
	Count   int               `yaml:"count"`
	Small   int16             `yaml:"small"`
	Tiny    uint8             `yaml:"tiny"`
	Ratio   float64           `yaml:"ratio"`
	On      bool              `yaml:"on_demand"`
	Size    size              `yaml:"size"`
	Kafka   kafka             `yaml:"kafka"`
	Other   *kafka            `yaml:"other"`
	Named   map[string]kafka  `yaml:"named"`
	Ignored string            `yaml:"-"`
	Plain   string
	Colour  colour `yaml:"colour"`
}

type colour string

func (colour) Values() []string { return []string{"red", "green"} }

type kafka struct {
	Brokers []string `yaml:"brokers"`
	Acks    string   `yaml:"acks"`
}

type size int64

func (s *size) UnmarshalText(text []byte) error {
	if string(text) != "1MiB" {
		return errors.New("write it as 1MiB")
	}
	*s = 1 << 20
	return nil
}

func TestDecodeFillsEveryKindOfValue(t *testing.T) {
	var got target
	require.NoError(t, strictyaml.Decode("a.yaml", []byte(`
name: 12
paths: [a, "b c"]
labels: {env: prod, n: 7}
wait: 250ms
count: 3
small: -4
tiny: 5
ratio: 0.5
on_demand: true
size: 1MiB
kafka:
  brokers:
  - h:1
  acks: 1
other: {acks: all}
named: {b: {brokers: [h:2]}}
plain: x
colour: green
`), &got))
	require.Equal(t, target{
		Name: "12", Paths: []string{"a", "b c"}, Labels: map[string]string{"env": "prod", "n": "7"},
		Wait: 250 * time.Millisecond, Count: 3, Small: -4, Tiny: 5, Ratio: 0.5, On: true, Size: 1 << 20,
		Kafka: kafka{Brokers: []string{"h:1"}, Acks: "1"}, Other: &kafka{Acks: "all"},
		Named: map[string]kafka{"b": {Brokers: []string{"h:2"}}}, Plain: "x", Colour: "green",
	}, got)
}

func TestDecodeLeavesWhatIsMissingOrNullAsItIs(t *testing.T) {
	for _, in := range []string{"", "# only a comment\n", "---\n", "null", "name:\nkafka: ~\n", "wait: 0\n"} {
		got := target{Name: "kept", Kafka: kafka{Acks: "kept"}}
		require.NoError(t, strictyaml.Decode("a.yaml", []byte(in), &got), in)
		require.Equal(t, target{Name: "kept", Kafka: kafka{Acks: "kept"}}, got, in)
	}
}

func TestDecodeReadsJSONWhateverItsIndentation(t *testing.T) {
	var got target
	require.NoError(t, strictyaml.Decode("key", []byte("{\n\t\"name\": \"w\\teb\",\n\t\"paths\":\t[\"/a\"]\n}\n"), &got))
	require.Equal(t, target{Name: "w\teb", Paths: []string{"/a"}}, got)
}

func TestDecodeReadsJSONWithSurrogatePairs(t *testing.T) {
	var got target
	require.NoError(t, strictyaml.Decode("key", []byte(`{"name":"\ud83d\ude80\\ud83d\/","plain":"\u00e9"}`), &got))
	require.Equal(t, target{Name: `🚀\ud83d/`, Plain: "é"}, got)
}

func TestTextIsTakenAsItStands(t *testing.T) {
	var got target
	require.NoError(t, strictyaml.Decode("a.yaml", []byte("name: 0x10\nplain: !!binary aGk=\npaths: [2026-01-02, yes]\n"), &got))
	require.Equal(t, target{Name: "0x10", Plain: "aGk=", Paths: []string{"2026-01-02", "yes"}}, got)
}

func TestParseAllSplitsDocuments(t *testing.T) {
	docs, err := strictyaml.ParseAll("a.yaml", []byte("---\nname: a\n---\n# b\nname: b\n"))
	require.NoError(t, err)
	require.Len(t, docs, 2)
	require.Equal(t, []int{2, 5}, []int{docs[0].Line, docs[1].Line})
	var got target
	require.NoError(t, docs[1].Decode(&got))
	require.Equal(t, target{Name: "b"}, got)

	docs, err = strictyaml.ParseAll("a.yaml", []byte("# nothing\n"))
	require.NoError(t, err)
	require.Empty(t, docs)
	_, err = strictyaml.ParseAll("a.yaml", []byte("name: a\n---\n---\nname: b\n"))
	require.EqualError(t, err, `a.yaml:2: empty document; write keys there or remove its "---"`)
}

func TestDecodeFollowsAnchorsAndMergeKeys(t *testing.T) {
	var got target
	require.NoError(t, strictyaml.Decode("a.yaml", []byte(`
kafka: &base {brokers: [h:1], acks: all}
named:
  a: {<<: *base, acks: 1}
  b: *base
`), &got))
	require.Equal(t, map[string]kafka{"a": {Brokers: []string{"h:1"}, Acks: "1"}, "b": {Brokers: []string{"h:1"}, Acks: "all"}}, got.Named)
}

func TestDecodeRefusesWithOneLineThatNamesPlaceAndRemedy(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"typo", "name: x\nkafka:\n  brokrs: [a]\n", `a.yaml:3: unknown key "brokrs" in kafka; did you mean "brokers"?`},
		{"swapped letters", "nmae: x\n", `a.yaml:1: unknown key "nmae"; did you mean "name"?`},
		{"key of another section", "brokers: [a]\n", `a.yaml:1: unknown key "brokers"; it belongs in kafka`},
		{"key of the top level", "kafka: {labels: {}}\n", `a.yaml:1: unknown key "labels" in kafka; it belongs at the top level`},
		{"nothing alike", "kafka:\n  zzzzzzzz: 1\n", `a.yaml:2: unknown key "zzzzzzzz" in kafka; the keys here are brokers, acks`},
		{"in a named section", "named:\n  x:\n    ack: 1\n", `a.yaml:3: unknown key "ack" in named.x; did you mean "acks"?`},
		{"behind a pointer", "other:\n  ack: 1\n", `a.yaml:2: unknown key "ack" in other; did you mean "acks"?`},
		{"in a merged section", "labels: {a: &x b}\nkafka:\n  <<: {ack: 1}\n", `a.yaml:3: unknown key "ack" in kafka; did you mean "acks"?`},
		{"untagged and hidden fields", "ignored: 1\n", `a.yaml:1: unknown key "ignored"; the keys here are name, paths, labels, wait, count, small, tiny, ratio, on_demand, size, kafka, other, named, plain, colour`},
		{"key twice", "name: a\nname: b\n", `a.yaml:2: key "name" stands here and in line 1; keep one`},
		{"name twice", "named:\n  a: {}\n  a: {}\n", `a.yaml:3: key "a" in named stands here and in line 2; keep one`},
		{"text for a list", "paths: /var/log/*.log\n", `a.yaml:1: paths must be a list; write [/var/log/*.log]`},
		{"section for a list", "paths: {a: b}\n", `a.yaml:1: paths must be a list, not a section of keys`},
		{"empty list item", "paths:\n- a\n-\n", `a.yaml:3: paths[1] is empty; give it a value or take the line out`},
		{"list for text", "name: [a]\n", `a.yaml:1: name must be text, not a list`},
		{"list in a list", "paths: [[a]]\n", `a.yaml:1: paths[0] must be text, not a list`},
		{"text for a section", "kafka: h:1\n", `a.yaml:1: kafka must be a section with keys such as brokers, acks, not "h:1"`},
		{"list for names", "labels: [a]\n", `a.yaml:1: labels must be a section of NAME: VALUE, not a list`},
		{"bare number for a duration", "wait: 5\n", `a.yaml:1: wait must be a duration with a unit, such as 5s, 250ms or 2h, not "5"`},
		{"text for a number", "count: many\n", `a.yaml:1: count must be a whole number, not "many"`},
		{"fraction for a whole number", "count: 1.5\n", `a.yaml:1: count must be a whole number, not "1.5"`},
		{"number too large", "small: 40000\n", `a.yaml:1: small must be a whole number below 32768, not "40000"`},
		{"number below zero", "tiny: -1\n", `a.yaml:1: tiny must be a whole number from 0 to 255, not "-1"`},
		{"text for a fraction", "ratio: x\n", `a.yaml:1: ratio must be a number, not "x"`},
		{"text for a switch", "on_demand: maybe\n", `a.yaml:1: on_demand must be true or false, not "maybe"`},
		{"type with its own words", "\nsize: 2MiB\n", `a.yaml:2: size: write it as 1MiB`},
		{"word misspelled", "colour: rde\n", `a.yaml:1: colour cannot be "rde"; did you mean "red"?`},
		{"word unknown", "colour: purple\n", `a.yaml:1: colour cannot be "purple"; use one of red, green`},
		{"not UTF-8", "name: \xff\n", `a.yaml: not UTF-8 text; save it as UTF-8`},
		{"whole document of a wrong kind", "- a\n", `a.yaml:1: the document must be a section with keys such as name, paths, labels, not a list`},
		{"two documents", "name: a\n---\nname: b\n", `a.yaml:3: a second document starts here; one file holds one document`},
		{"tab", "kafka:\n\tacks: 1\n", `a.yaml:2: broken YAML: found character that cannot start any token; indent with spaces, not with tabs`},
		{"broken YAML", "name: [a\n", `a.yaml:1: broken YAML: did not find expected ',' or ']'; check the brackets, quotes and indentation around it`},
		{"broken JSON", "{\n\"name\": }x", `a.yaml:2: broken JSON: invalid character '}' looking for beginning of value`},
		{"section that holds itself", "named: &n\n  a: {<<: *n}\n", `a.yaml:`},
		{"alias of nothing", "name: *gone\n", `a.yaml:1: broken YAML: unknown anchor 'gone' referenced; quote a value that starts with *`},
		{"colon in a value", "name: a: b\n", `a.yaml:1: broken YAML: mapping values are not allowed in this context; check the indentation, and quote a value that holds ": "`},
		{"glob as an alias", "name: x\npaths:\n- *.log\n", `a.yaml:3: broken YAML: did not find expected alphabetic or numeric character; quote a value that starts with * or &`},
		{"unknown alias further down", "name: x\npaths: [*gone]\n", `a.yaml:2: broken YAML: unknown anchor`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := strictyaml.Decode("a.yaml", []byte(tc.in), new(target))
			var fault *strictyaml.Error
			require.ErrorAs(t, err, &fault)
			require.NotContains(t, err.Error(), "\n")
			require.True(t, strings.HasPrefix(err.Error(), tc.want), "got  %s\nwant %s", err, tc.want)
		})
	}
}

func TestExpandPutsVariablesIntoValuesOnly(t *testing.T) {
	env := map[string]string{"HOST": "h:1", "N": "7", "TRICK": "a, b]: {c: d}\nname: z", "WORD": "null"}
	doc, err := strictyaml.Parse("a.yaml", []byte(`
name: x-${N}-$${N}-$N-${MISSING:-d e}
paths: ["${TRICK}", '${N}']
labels: {"${KEY}": "${WORD}", w: "${N}"}
count: ${N}
small: ${MISSING:-}
on_demand: ${MISSING:-true}
kafka: {brokers: ["${HOST}"], acks: "${N}"}
plain: ${WORD}
wait: ${MISSING:-5s}
`))
	require.NoError(t, err)
	require.NoError(t, doc.Expand(func(k string) string { return env[k] }))
	var got target
	require.NoError(t, doc.Decode(&got))
	require.Equal(t, target{
		Name: "x-7-${N}-$N-d e", Paths: []string{env["TRICK"], "7"}, Labels: map[string]string{"${KEY}": "null", "w": "7"},
		Count: 7, On: true, Kafka: kafka{Brokers: []string{"h:1"}, Acks: "7"}, Plain: "null", Wait: 5 * time.Second,
	}, got)
	require.Equal(t, 3, doc.Lines()["paths[1]"])
}

func TestExpandRefusesWhatItCannotFillIn(t *testing.T) {
	for in, want := range map[string]string{
		"name: a\nplain: ${GONE}":   `a.yaml:2: variable GONE is not set; set it, or write ${GONE:-default}`,
		"paths: [a, \"x${GONE\"]":   `a.yaml:1: ${GONE has no closing brace; write $${ for a literal ${`,
		"name: ${not a name}":       `a.yaml:1: ${not a name} names no variable; write ${NAME}, ${NAME:-default}, or $${ for a literal ${`,
		"name: ${1X}":               `a.yaml:1: ${1X} names no variable`,
		"kafka: {acks: \"${}\"}":    `a.yaml:1: ${} names no variable`,
		"name: \"${GONE:-${X:-}}\"": ``,
	} {
		doc, err := strictyaml.Parse("a.yaml", []byte(in))
		require.NoError(t, err, in)
		err = doc.Expand(func(string) string { return "" })
		if want == "" {
			require.NoError(t, err, in)
			continue
		}
		require.Error(t, err, in)
		require.True(t, strings.HasPrefix(err.Error(), want), err)
	}
}

func TestClosestNamesOnlyWhatIsNear(t *testing.T) {
	names := []string{"paths", "exclude", "max_line_bytes", "poll", "poll_interval"}
	for typed, want := range map[string]string{
		"path": "paths", "pahts": "paths", "excludes": "exclude", "maxlinebytes": "max_line_bytes", "pol": "poll",
		"x": "", "": "", "topic": "", "poll-interval": "poll_interval", strings.Repeat("a", 5000): "",
	} {
		require.Equal(t, want, strictyaml.Closest(typed, names), typed)
	}
}

func TestDecodeWantsAPointer(t *testing.T) {
	require.Error(t, strictyaml.Decode("a.yaml", nil, target{}))
	require.Error(t, strictyaml.Decode("a.yaml", nil, (*target)(nil)))
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"name: a\n", "paths: [a]\nkafka: {acks: 1}\n", "a: &x [*x]\n", "named: &n {a: {<<: *n}}\n", "{\"name\":\t1}",
		"name: ${A}${B:-c}$${\n", "? [a]\n: b\n", "name: !!binary aGk=\n", "- - - -\n", "wait: 5\n", "<<: [{}, {}]\n", "size: 2\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := strictyaml.Parse("f.yaml", data)
		if err == nil {
			err = doc.Expand(func(name string) string { return name })
		}
		if err == nil {
			err = doc.Decode(new(target))
		}
		if err == nil {
			return
		}
		var fault *strictyaml.Error
		require.ErrorAs(t, err, &fault)
		require.NotContains(t, err.Error(), "\n")
		require.True(t, strings.HasPrefix(err.Error(), "f.yaml:"), err)
	})
}
