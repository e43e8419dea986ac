package directorytest
import "testing"
func testSignIn(t *testing.T, w World) {}
func testLockOut(t *testing.T, w World) {}
func testKnownAddress(t *testing.T, w World) {}
func testUnknownCostsTheSame(t *testing.T, w World) {}
func testFeed(t *testing.T, w World) {}
func testProcesses(t *testing.T, w World) {}
func testGate(t *testing.T, w World) {}
