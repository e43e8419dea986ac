// Package authn checks who somebody is: passwords, lock-out, tokens, and what
// every process remembers of them.
//
// Its law:
//
//   - Service runs beside the directory's database and is the only thing that
//     sees password hashes. One sign-in costs one argon2id computation, for a
//     known name as for an unknown one, right or wrong, and answers alike.
//     Computations run in a bounded pool. Lock-out is kept in the database, so
//     that it holds in every process. An address that signed in to an account
//     before has a lane of its own which no lock-out blocks.
//   - Gate runs in every process in front of a directory, near or far. It
//     answers what was proven before from memory: a repeated password by an
//     HMAC under a key of the process, a token by its signature. Both hold in
//     one epoch of the account only. The gate follows the directory's feed; it
//     ends the contexts of an account whose epoch changes, and when it has heard
//     nothing for 30 seconds it refuses everything, because it could be wrong.
//   - What stands in the way of an account besides its password (disabled,
//     expired, a second factor, a change that is due) is told to nobody who did
//     not show the right password: directory.SignInProblem.
//   - An application password is 128 random bits: no slow hash and no lock-out is
//     in its way, it works at the doors of programs only, and changes nothing
//     that lets anybody in. A code of the second factor works once, in the whole
//     forest, and nothing remembers its answer.
//   - A former password's salt is kept for the next one of the same account, so
//     that the same single computation tells a wrong password from one of the
//     last two, which counts as no guess, and finds it in the account's history.
//     The price: who steals the hashes of one account tries a guess on all of
//     them at once, but all except one are void.
//
// Lock order: there is one mutex a type, and none is held while calling out.
package authn
