// Package rollout decides from what requests cost, and how they went, whether a new version of a policy may take the place
// of the old one. It is statistics and bookkeeping: it knows no policy, no clock and no disk.
//
// # What is compared
//
// A share of the sessions is decided by the candidate, all others by the control, at the same time. Requests of a session
// resemble each other, so that ten requests of one session are not ten pieces of evidence: a session gives one [Sample], of its
// first request since the rollout began. Requests without a session are samples of their own. All else is counted and not tested.
//
// Each [Guard] claims that the candidate is not worse than the control by more than a margin. Samples are put into blocks: a block
// ends as soon as it has one of either arm, and gives one number z, which on average is not above 0 while the claim holds:
//
//	errors, fallbacks   z = share(candidate) - share(control) - margin
//	cost, credits       z = mean(candidate) - (1 + margin) mean(control), of values cut at a bound and divided by it
//	ttft_p95            z = share(candidate above (1 + margin) q) - share(control above q)
//
// As both arms of a block are of the same minutes, what changes for both, as traffic does over a day, cancels out. It need not
// stay as it is; it should not change much within one block, which is about 1/share samples.
//
// # The test
//
// Testing by betting: whoever does not believe a guard's claim begins with 1 and stakes a part of what he has on every block.
// His wealth is the product of 1 + stake·z. While the claim holds no stakes make that grow on average, whatever he has seen
// before, so that by Ville's inequality it ever reaches 1/a with a probability of at most a, however often one looks. The
// wealth here is the mean over six fixed stakes (the method of mixtures), as the best stake is not known. That is the test of
// Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024), section 4, with the
// mixture of Robbins (1970); no distribution is assumed, and nothing is asymptotic.
//
// With G guards one is broken when its wealth reaches G/[Alpha] (Bonferroni), so that an innocent candidate is rolled back with a
// probability of at most 1 % in all, whatever the sizes of the samples.
//
// The same bet with the other sign shows that the candidate is within a margin. It is promoted when that is shown of all
// guards, each at 1 %, or when the greatest sample is reached and no guard is broken.
//
// # Heavy tails
//
// What requests cost has a heavy tail: one in a thousand may cost a hundred times the median, and no mean of such values can be
// tested without a bound. Values are cut at twice the 95th percentile of the last 512 of the control from before the block. A bound that is
// known before a block begins keeps the test valid: if the candidate's costs are distributed like at most 1 + margin times the
// control's, that holds for costs cut at any bound too. What it means: the few requests beyond the bound count as if each cost the bound,
// so that a candidate which makes only those dearer is not found; where all cost about the same, up to twice that is seen as it is. The
// percentile q of ttft_p95 is taken from the control in the same way, and need not be exact: it only has to be the same for both arms.
package rollout
