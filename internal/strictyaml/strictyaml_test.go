package strictyaml_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

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
	Rooms   []room `yaml:"rooms"`
	Any     any    `yaml:"any"`
	Own     own    `yaml:"own"`
	Huge    uint64 `yaml:"huge"`
}

type room struct {
	Size int  `yaml:"size"`
	Lit  bool `yaml:"lit"`
}

// own decodes itself and takes anything.
type own struct{ kind string }

func (o *own) UnmarshalYAML(n *yaml.Node) error {
	o.kind = n.ShortTag()
	return nil
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
rooms:
- size: 1
  lit: true
- {size: 2}
any: {a: [1, null]}
own: [x]
huge: 18446744073709551615
`), &got))
	require.Equal(t, target{
		Name: "12", Paths: []string{"a", "b c"}, Labels: map[string]string{"env": "prod", "n": "7"},
		Wait: 250 * time.Millisecond, Count: 3, Small: -4, Tiny: 5, Ratio: 0.5, On: true, Size: 1 << 20,
		Kafka: kafka{Brokers: []string{"h:1"}, Acks: "1"}, Other: &kafka{Acks: "all"},
		Named: map[string]kafka{"b": {Brokers: []string{"h:2"}}}, Plain: "x", Colour: "green",
		Rooms: []room{{1, true}, {2, false}}, Any: map[string]any{"a": []any{1, nil}}, Own: own{"!!seq"}, Huge: 1<<64 - 1,
	}, got)
}

func TestLinesAreThoseOfKeysAndListItems(t *testing.T) {
	doc, err := strictyaml.Parse("a.yaml", []byte("name: a\nrooms:\n  - size: 1\n    lit: true\n  - {size: 2}\nother:\n  acks: all\ncolour: red\nwait: 1m\nlabels:\n  a: b\n"))
	require.NoError(t, err)
	require.NoError(t, doc.Decode(new(target)))
	require.Equal(t, map[string]int{
		"name": 1, "rooms": 2, "rooms[0]": 3, "rooms[0].size": 3, "rooms[0].lit": 4, "rooms[1]": 5, "rooms[1].size": 5,
		"other": 6, "other.acks": 7, "colour": 8, "wait": 9, "labels": 10, "labels.a": 11,
	}, doc.Lines())
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

func TestDecodeReadsJSONWithCharactersThatYAMLTakesForSomethingElse(t *testing.T) {
	var got target
	text := "\ufeff{\"name\": \"a\x7f\u0085\u009f\u2028b\u2029\ufeff\ufffe\uffff\u00a0\", \"plain\": \"\\u007f \\\\u2028\"}"
	require.NoError(t, strictyaml.Decode("key", []byte(text), &got))
	require.Equal(t, target{Name: "a\x7f\u0085\u009f\u2028b\u2029\ufeff\ufffe\uffff\u00a0", Plain: "\x7f \\u2028"}, got)
}

func TestDecodeReadsAFileThatBeginsWithAByteOrderMark(t *testing.T) {
	var got target
	require.NoError(t, strictyaml.Decode("a.yaml", []byte("\ufeffname: a\n"), &got))
	require.Equal(t, target{Name: "a"}, got)
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

func TestAnAliasedScalarIsReadAnewInEachPlace(t *testing.T) {
	var got target
	require.NoError(t, strictyaml.Decode("a.yaml", []byte("name: &n 5\ncount: *n\nlabels: {a: *n}\npaths: [*n]\n"), &got))
	require.Equal(t, target{Name: "5", Count: 5, Labels: map[string]string{"a": "5"}, Paths: []string{"5"}}, got)

	err := strictyaml.Decode("a.yaml", []byte("name: &n many\n\ncount: *n\n"), &got)
	require.EqualError(t, err, `a.yaml:3: count must be a whole number, not "many"`)
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
		{"in a list of sections", "rooms:\n  - siez: 1\n", `a.yaml:2: unknown key "siez" in rooms[0]; did you mean "size"?`},
		{"key of another section that is near one here", "acks: 1\nrooms: [{sizes: 1}]\nkafka: {lables: 1}\n", `a.yaml:1: unknown key "acks"; it belongs in kafka`},
		{"untagged and hidden fields", "ignored: 1\n", `a.yaml:1: unknown key "ignored"; the keys here are name, paths, labels, wait, count, small, tiny, ratio, on_demand, size, kafka, other, named, plain, colour, rooms, any, own, huge`},
		{"key twice", "name: a\nname: b\n", `a.yaml:2: key "name" is given twice, first in line 1; keep one`},
		{"name twice", "named:\n  a: {}\n  a: {}\n", `a.yaml:3: key "a" in named is given twice, first in line 2; keep one`},
		{"key twice in one line", `{"kafka": {"acks": "1", "acks": "2"}}`, `a.yaml:1: key "acks" in kafka is given twice, first in line 1; keep one`},
		{"list for a key", "? [a]\n: b\n", `a.yaml:1: a key must be a plain word, not a list`},
		{"list for a name", "named:\n  ? [a]\n  : {}\n", `a.yaml:2: a key in named must be a plain word, not a list`},
		{"glob for a list", "paths: '*.log'\n", `a.yaml:1: paths must be a list; write ["*.log"]`},
		{"two spaces in a value", "colour: 'pur  ple'\n", `a.yaml:1: colour cannot be "pur  ple"; use one of red, green`},
		{"merge of nothing", "kafka:\n  <<:\n", `a.yaml:2: kafka.<< is empty; give it a value or take the line out`},
		{"other key with the tag of a merge", "!!merge bogus: {name: x}\n", `a.yaml:1: unknown key "bogus"; the keys here are`},
		{"list for a type with its own words", "size: [1MiB]\n", `a.yaml:1: size must be a single value, not a list`},
		{"text for a list", "paths: /var/log/*.log\n", `a.yaml:1: paths must be a list; write [/var/log/*.log]`},
		{"section for a list", "paths: {a: b}\n", `a.yaml:1: paths must be a list, not a section of keys`},
		{"empty list item", "paths:\n- a\n-\n", `a.yaml:3: paths[1] is empty; give it a value or take the line out`},
		{"list for text", "name: [a]\n", `a.yaml:1: name must be text, not a list`},
		{"empty list item with an anchor", "paths: [&a , x]\n", `a.yaml:1: paths[0] is empty; give it a value or take the line out`},
		{"list in a list", "paths: [[a]]\n", `a.yaml:1: paths[0] must be text, not a list`},
		{"text for a section", "kafka: h:1\n", `a.yaml:1: kafka must be a section with keys such as brokers, acks, not "h:1"`},
		{"list for names", "labels: [a]\n", `a.yaml:1: labels must be a section of NAME: VALUE, not a list`},
		{"bare number for a duration", "wait: 5\n", `a.yaml:1: wait must be a duration with a unit, such as 5s, 250ms or 2h, not "5"`},
		{"text for a number", "count: many\n", `a.yaml:1: count must be a whole number, not "many"`},
		{"fraction for a whole number", "count: 1.5\n", `a.yaml:1: count must be a whole number, not "1.5"`},
		{"number too large", "small: 40000\n", `a.yaml:1: small must be a whole number of at most 32767, not "40000"`},
		{"number below zero", "tiny: -1\n", `a.yaml:1: tiny must be a whole number of at least 0, not "-1"`},
		{"fraction of zero for a whole number", "count: 3.0\n", `a.yaml:1: count must be a whole number, not "3.0"`},
		{"exponent for a whole number", "count: 1e3\n", `a.yaml:1: count must be a whole number, not "1e3"`},
		{"tag of a fraction for a whole number", "count: !!float 3\n", `a.yaml:1: count must be a whole number, not "3"`},
		{"fraction behind another tag", "count: ! 1.5\n", `a.yaml:1: count must be a whole number, not "1.5"`},
		{"infinity for a whole number", "count: .inf\n", `a.yaml:1: count must be a whole number, not ".inf"`},
		{"number too small", "small: -32769\n", `a.yaml:1: small must be a whole number of at least -32768, not "-32769"`},
		{"hexadecimal number too large", "tiny: 0x100\n", `a.yaml:1: tiny must be a whole number of at most 255, not "0x100"`},
		{"number too large for 64 bits", "count: 9223372036854775808\n", `a.yaml:1: count must be a whole number of at most 9223372036854775807, not`},
		{"number too small for 64 bits", "count: -9223372036854775809\n", `a.yaml:1: count must be a whole number of at least -9223372036854775808, not`},
		{"number that YAML reads as a fraction", "huge: 18446744073709551616\n", `a.yaml:1: huge must be a whole number of at most 18446744073709551615, not`},
		{"quoted number", "count: \"3\"\n", `a.yaml:1: count must be a whole number, not text; write 3 without quotes`},
		{"quoted switch", "on_demand: 'true'\n", `a.yaml:1: on_demand must be true or false, not text; write true without quotes`},
		{"text for a fraction", "ratio: x\n", `a.yaml:1: ratio must be a number, not "x"`},
		{"text for a switch", "on_demand: maybe\n", `a.yaml:1: on_demand must be true or false, not "maybe"`},
		{"type with its own words", "\nsize: 2MiB\n", `a.yaml:2: size: write it as 1MiB`},
		{"word misspelled", "colour: rde\n", `a.yaml:1: colour cannot be "rde"; did you mean "red"?`},
		{"word unknown", "colour: purple\n", `a.yaml:1: colour cannot be "purple"; use one of red, green`},
		{"not UTF-8", "name: \xff\n", `a.yaml: not UTF-8 text; save it as UTF-8`},
		{"whole document of a wrong kind", "- a\n", `a.yaml:1: the document must be a section with keys such as name, paths, labels, not a list`},
		{"two documents", "name: a\n---\nname: b\n", `a.yaml:3: a second document starts here; one file holds one document`},
		{"tab", "kafka:\n\tacks: 1\n", `a.yaml:2: broken YAML: found character that cannot start any token; indent with spaces, not with tabs`},
		{"quote left open", "name: |\n  x\n y: \"z\n\n\"", `a.yaml:2: broken YAML: did not find expected key; check the brackets, quotes and indentation around it`},
		{"broken YAML", "name: [a\n", `a.yaml:1: broken YAML: did not find expected ',' or ']'; check the brackets, quotes and indentation around it`},
		{"broken JSON", "{\n\"name\": }x", `a.yaml:2: broken JSON: invalid character '}' looking for beginning of value`},
		{"section that holds itself", "named: &n\n  a: {<<: *n}\n", `a.yaml:`},
		{"list that holds itself", "paths: &p [*p]\n", `a.yaml:1: paths[0] must be text, not a list`},
		{"alias of nothing", "name: *gone\n", `a.yaml:1: broken YAML: unknown anchor referenced; quote a value that starts with *`},
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
		"paths: [a, \"x${GONE\"]":   `a.yaml:1: ${ has no closing brace; write $${ for a literal ${`,
		"name: ${not a name}":       `a.yaml:1: ${...} names no variable; write ${NAME}, ${NAME:-default}, or $${ for a literal ${`,
		"name: ${1X}":               `a.yaml:1: ${...} names no variable`,
		"kafka: {acks: \"${}\"}":    `a.yaml:1: ${...} names no variable`,
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
		"pahs": "paths", "PATHS": "paths", "max_lines_byte": "max_line_bytes", "pyll": "poll",
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
