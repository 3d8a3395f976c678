// Package faultmatrix is one table of all that can go wrong around a grant,
// with what proves that the product bears it.
//
// Read docs/fault-matrix.md first, which is made from the table by
//
//	go test ./faultmatrix -update
//
// Each fault is played here, names the test elsewhere that plays it, or says
// why it is not proved yet. A fault that is played here meets the real engine
// at a simulated or a raw server, and after each one five invariants are
// looked at:
//
//   - I1: what is stored can be read, token file and state;
//   - I2: the stored refresh token is the newest one that the provider gave,
//     or the state says why not;
//   - I3: at most one request whose outcome is success or unknown carries a
//     given refresh token, deliberate replays apart;
//   - I4: nothing that is printed or told holds a secret;
//   - I5: goroutines, file descriptors and the lock are as before.
//
// Limits: a name of a test elsewhere is checked to exist, not run again.
package faultmatrix
