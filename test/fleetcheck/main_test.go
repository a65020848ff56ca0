package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"logferry/test/etcdtest"
	"logferry/test/kafkatest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(etcdtest.Settle(m), kafkatest.IgnoreSarama())
}

func TestTheShortFleetCheckPasses(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	binary := filepath.Join(t.TempDir(), "logferry")
	out, err := exec.Command("go", "build", "-o", binary, "logferry/cmd/logferry").CombinedOutput()
	require.NoError(t, err, string(out))
	var told, wrong bytes.Buffer
	code := execute(t.Context(), []string{"-quick", "-logferry", binary}, &told, &wrong)
	t.Log("\n" + told.String())
	require.Zero(t, code, wrong.String())
	require.Contains(t, told.String(), "all is as it should be")
}

func TestABinaryThatIsNotThereIsWrongUsage(t *testing.T) {
	var out, wrong bytes.Buffer
	require.Equal(t, 2, execute(t.Context(), []string{"-logferry", filepath.Join(t.TempDir(), "none")}, &out, &wrong))
	require.Contains(t, wrong.String(), "build it with 'make build'")
	require.Equal(t, 2, execute(t.Context(), []string{"-nothing"}, &out, &wrong))
}
