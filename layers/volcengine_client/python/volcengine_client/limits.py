"""Every bound, with its unit, and how the bounds relate."""

from __future__ import annotations

from dataclasses import dataclass

# --- what a request may hold -------------------------------------------------
TASKS_MAX = 1_000  # tasks a batch
TEXT_CHARACTERS_MAX = 100_000  # characters a text
SEGMENT_BYTES_MAX = 1_024  # bytes of UTF-8 a call: the upstream's own bound (code 3010)
SSML_CHARACTERS_MAX = 150  # characters a call of SSML, tags included: the upstream's own bound
TASK_ID_CHARACTERS_MAX = 128
VOICE_TYPE_CHARACTERS_MAX = 128
VOICE_QUERY_CHARACTERS_MAX = 100  # of what is looked for in voices' ids and names
VOICES_PAGE = 100  # voices a page, unless the caller wants another number ...
VOICES_PAGE_MAX = 1_000  # ... up to this
VOICES_AGE_MAX_S = 3_600  # how long a list of voices may be kept by whoever asked
DOCUMENT_AGE_MAX_S = 3_600  # how long the description of the routes may be kept by whoever asked
VOICE_SUGGESTIONS_KEPT = 1_024  # strange ids whose likest known one is remembered
VOICE_WARNINGS_MAX = 20  # strange ids of a batch for which is told which known one was meant
VOICE_WARNING_CHARACTERS_MAX = 64  # of a strange id in its warning
FILE_NAME_CHARACTERS_MAX = 200
APP_CHARACTERS_MAX = 64
CREDENTIAL_CHARACTERS_MAX = 256
CONCURRENCY_MAX = 1_000  # slots a pool
PRODUCTS_MAX = 20  # products of an account that have limits of their own
CONCURRENCY_DEFAULT = 10  # what a paid account allows, as sold
BODY_BYTES_MAX = 4 * 1024 * 1024  # bytes a request body; Lambda itself takes 6 MB, base64 included
ANSWER_BYTES_MAX = 5_500_000  # bytes an answer; Lambda itself gives 6 MB
AUDIO_BYTES_MAX = 4_500_000  # bytes of audio that is an answer by itself; base64 makes 6,000,000 of them
LAMBDA_ANSWER_BYTES_MAX = 6 * 1024 * 1024  # bytes of what a function returns
SERVER_BODY_BYTES_MAX = 16 * 1024 * 1024  # bytes a request body, self-hosted
SERVER_ANSWER_BYTES_MAX = 64 * 1024 * 1024  # bytes an answer, self-hosted
SERVER_STRANGERS_MAX = 100  # of them without the admin key
SERVER_REQUESTS_MAX = 200  # requests in progress, self-hosted

JOB_TASKS_MAX = 100_000  # tasks a job
JOB_DEADLINE_MAX_S = 604_800  # the longest that a job may give itself
JOB_CHUNK_TASKS = 100  # tasks that are read, and noted as finished, together
JOB_PAGE_TASKS = 100  # results a page, unless the caller wants another number ...
JOB_PAGE_TASKS_MAX = 1_000  # ... up to this
JOBS_LISTED_MAX = 100  # jobs a list
JOBS_LOOKED_AT_MAX = 1_000  # jobs that are looked at for a list; of some kinds there may be few among them
AUDIO_URL_MS = 3_600_000  # how long an address of an audio file is good

UPLOAD_BYTES_MAX = 128 * 1024 * 1024  # bytes a list of tasks that is uploaded: the most tasks, a whole call's text each
UPLOAD_LINE_BYTES_MAX = 1_300_000  # bytes a line of it: the longest text, every character escaped, and room
UPLOAD_URL_MS = 3_600_000  # how long an address to upload to is good
UPLOAD_MAX_MS = 900_000  # how long an upload may take, self-hosted
UPLOAD_PART_BYTES = 4 * 1024 * 1024  # bytes of a list that are read at once
UPLOAD_WRITES_MAX = 16  # chunks of a list that are being written at once

SPEED_MIN, SPEED_MAX = 0.2, 3.0  # ratio
VOLUME_MIN, VOLUME_MAX = 0.1, 3.0  # ratio
PITCH_MIN, PITCH_MAX = -12.0, 12.0  # semitones
SILENCE_MAX_MS = 30_000  # after a text

# --- how long a request may take ---------------------------------------------
GATEWAY_TIMEOUT_MS = 30_000  # API Gateway's HTTP API, not raisable
REQUEST_DEADLINE_MS = 28_000  # from API Gateway's clock to our answer, Lambda
SERVER_REQUEST_DEADLINE_MS = 600_000  # the same, self-hosted
FUNCTION_TIMEOUT_MS = 29_000  # Lambda's own
ANSWER_RESERVE_MS = 500  # kept for leaving the pool and sending the answer
CALL_TIME_ESTIMATED_MS = 1_200  # what an estimate reckons with before any call was seen
CALL_TIME_GUESS_MS = 300  # how long a call is thought to take on average before any was seen
CALL_TIME_FIRST_MS = 8_000  # how long a call is thought to take before any was seen
CALL_TIMES_AGE_MS = 60_000  # older calls say nothing of how long one takes now
CALL_TIMES_KEPT = 300  # recent calls from which their usual length is read
CALL_TIMES_ENOUGH = 5  # fewer say too little
ANSWER_LEARNED_AFTER = 3  # files after which a batch trusts its own sizes more than the estimate
ANSWER_LEARNED_MARGIN = 1.5  # ratio by which the next file may be larger than any so far
ADDRESS_BYTES = 2_000  # a signed address of a file, its session token included
RESULT_BYTES = 600  # what a result has in an answer, its audio apart
ATTEMPTS_MAX = 5  # calls a segment, the first one included
SECRET_AGE_MAX_MS = 300_000  # a cached secret is read again after this
IDLE_CONNECTION_MS = 10_000  # an idle connection older than this is closed, not used
CONNECT_MAX_MS = 5_000  # to the upstream, name look-up and TLS included; nothing was bought when it takes longer
UPSTREAM_ANSWER_BYTES_MAX = 32 * 1024 * 1024  # bytes an answer of the upstream, base64 included
UPSTREAM_OBJECT_BYTES_MAX = 8 * 1024 * 1024  # bytes one of the objects of which a v3 answer is made
STREAM_END_MS = 100  # how long the end of a stream may take after its last object, so that its connection is kept

# --- jobs ----------------------------------------------------------------------
JOB_STALLS_MAX = 8  # slices in a row without one finished task after which a job is over
JOB_STALL_WAIT_MS = 10_000  # before the slice after one that finished nothing; doubled with each
JOB_STALL_WAIT_MAX_MS = 900_000  # SQS keeps no message longer
JOB_WATCH_MS = 1_000  # how often a worker looks whether its job was cancelled
JOB_WRITE_ATTEMPTS_MAX = 20  # of a job's item, against others' writes
STORE_REQUESTS_MAX = 32  # requests to files and tables of jobs at once, a process
STORE_CONNECT_MS = 2_000
STORE_READ_MS = 5_000
STORE_PATIENCE_MS = 15_000  # no attempt of one request begins later than this after the first
STORE_RETRY_BASE_MS = 50  # the first wait, doubled with each attempt, full jitter
STORE_RETRY_MAX_MS = 2_000
WITHDRAW_MAX_MS = 250  # of a request's last half second, to take back a job that was not handed over in time
HAND_OVER_MS = 3_000  # of a request's time that is kept for making a job of what it has no time for
FIND_MAX_MS = 5_000  # how long it may take to find what was spoken before; then it is bought
LOOK_MAX_MS = 15_000  # how long an estimate may look for what was spoken before; the rest is said to be unchecked
LOOK_RESERVE_MS = 8_000  # of an estimate's time that is kept for reckoning, with 70,000 tasks on half a processor
TURN_END_MIN_MS = 200  # how long an answer waits at least for its end to be put down, so that equal requests go on
TURN_POLL_MS = 200  # how often one looks who waits for the same request's end
IDEMPOTENCY_KEY_CHARACTERS_MAX = 255
IDEMPOTENCY_KEPT_MS = 86_400_000  # for how long an idempotency key is remembered
SLICE_MARGIN_MS = 8_000  # of a worker's time that is kept for writing down what it did

# --- callbacks -----------------------------------------------------------------
CALLBACK_URL_CHARACTERS_MAX = 2_048
CALLBACK_RESOLVE_MAX_MS = 3_000  # to look up a callback's host while its job is submitted
CALLBACK_SEND_MAX_MS = 10_000  # one try, from looking up the host to the status of its answer
CALLBACK_ATTEMPTS_MAX = 103  # tries, the first one included: those of a day
CALLBACK_WAIT_MS = 10_000  # before the second try; doubled with each
CALLBACK_WAIT_MAX_MS = 900_000  # SQS keeps no message longer
WEBHOOK_TOLERANCE_S = 300  # how far a callback's time may be from its receiver's

# --- the client -----------------------------------------------------------------
RESULTS_WAITING_MAX = 1_000  # results a batch that nobody has taken yet, unless the caller wants another number
CLIENT_ANSWER_MS = GATEWAY_TIMEOUT_MS + 5_000  # how long a gateway may take to answer, unless it speaks a batch ...
CLIENT_BATCH_MS = SERVER_REQUEST_DEADLINE_MS + 30_000  # ... and when it does
CLIENT_ANSWER_BYTES_MAX = 2 * SERVER_ANSWER_BYTES_MAX  # bytes an answer of a gateway
CLIENT_FILE_BYTES_MAX = 4 * 1024**3  # bytes a file that a gateway points to: the longest text at 48,000 Hz ...
CLIENT_FETCH_BYTES_MAX = 1024**3  # ... and of one that is read into memory
CLIENT_DOWNLOAD_MS = AUDIO_URL_MS  # how long one attempt to fetch a file may take
CLIENT_RETRY_BASE_MS = 400  # the first wait before a request is repeated is below this, doubled with each, full jitter
CLIENT_RETRY_MAX_MS = 5_000
CLIENT_RETRY_AFTER_MAX_MS = 60_000  # the longest that a gateway may send us off for and still be asked again
POLL_MS = 250  # the first wait before a job is looked at again, growing while nothing happens ...
POLL_MAX_MS = 5_000  # ... up to this
TASK_FILE_BYTES_MAX = 512 * 1024 * 1024  # bytes a list of tasks
FILE_NAME_BYTES_MAX = 160  # bytes of UTF-8 a name, extension and number apart; file systems take 255
JOB_BODY_BYTES = BODY_BYTES_MAX - 64 * 1024  # bytes of tasks that are handed in in a body; what is larger is uploaded
CLIENT_UPLOAD_MS = UPLOAD_MAX_MS  # how long one attempt to upload a list may take
DOWNLOADS_MAX = 8  # files at once
SAY_BYTES_MAX = 1024 * 1024  # bytes of text that the command line reads from its standard input
SLOTS_LOOK_MS = 2_000  # how often the command line looks at the pool

# --- the pool ----------------------------------------------------------------
ENTRIES_A_WRITE_MAX = 48  # DynamoDB: 4 KB and 300 operators an expression
QUEUE_MAX = 200  # participants a pool; each has about 100 bytes of the item
FIRST_QUANTUM_MS = 4_000  # how long a holder keeps a slot that an equal waits for who never had one
QUANTUM_MS = 8_000  # the same when the other had one before, and has none now
SWAP_QUANTUM_MS = 60_000  # the same when the other has slots too: then it is only about who has one more
TABLE_TIMEOUT_MS = 1_000  # a read or write without answer after this is in doubt
TABLE_REQUESTS_MAX = 32  # requests to the table at once, a process
POOL_NAMES_MAX = 1_000  # pools that `GET /pools` lists
READ_NEXT_IN_LINE_MS = 12  # how often the next in line reads when a slot is expected
READS_A_CALL_MAX = 100  # nor more often than this while a call lasts
READ_CROWD_FACTOR = 4  # the k-th in line reads k times less often, or this times k² by the slots there are
READ_TURN_MS = 200  # how often one reads whose turn is over, or one with slots beside a free one
READ_PLACE_MS = 50  # how much less often anyone reads for each place in the line ...
READ_FAR_MS = 4_000  # ... and this often at least
CHANCE_MARGIN_MS = 100  # how much earlier than expected a slot may come free ...
CHANCE_MARGIN_SHARE = 5  # ... and one in so many parts of the time foreseen
READ_HOLDING_FACTOR = 2  # how much less one reads that has slots already
READ_SPARE_MS = 150  # how often one with idle slots looks for waiters
READ_BACKGROUND_MS = 150  # how often a background holder looks for waiters: all others come before it
READ_HOLDING_MS = 500  # how often a busy holder of several looks for waiters
READ_SLOWEST_MS = 1_000  # how seldom a holder reads, or one who may be next
GIVE_AGE_MAX_MS = 250  # who gives up a slot for others looks first when it last did so longer ago
TAKE_DELAY_MS = 200  # the k-th in line takes a slot that stayed free for k times this
TAKE_DELAY_MAX_MS = 2_000  # but after this at the latest, however many before it may be dead
GIVER_PLACES = 3  # one who has just let a slot go takes it back as if so many places behind
CLOCK_DRIFT_PPM = 500  # how much a machine's monotonic clock may run wrong
CLOCK_GAP_MS = 1_500  # a pause of this process longer than this is a gap: trust nothing before a reply
TICK_MS = 400  # a participant's task wakes at least this often, so that a pause of the process is noticed
TABLE_RETRY_BASE_MS = 25  # the first wait after table trouble, doubled with each failure, full jitter
TABLE_RETRY_MAX_MS = 1_000
REGRESSES_MAX = 3  # older snapshots in a row after which the item was replaced, and no reply was late
TABLE_FAILURES_MAX = 8  # failures in a row after which those who wait without a slot are told
LEAVE_MAX_MS = 2_500  # how long leaving may take; then the leases run out by themselves
CLOSE_MAX_MS = 5_000  # how long closing a client may take
WEIGHT_MAX = 100  # an app's share against others'
REFUSED_AGAIN_MS = 80  # a slot still refused after this is somebody else's; before, the upstream's count lags behind
REFUSED_KEPT_MS = 2_000  # for how long a refusal says anything of its slot
CAP_MS = 15_000  # how long a cut of the limit lasts before it climbs
CAP_STEP_MS = 2_500  # how long it then takes to climb by one
CALLERS_POOL_KEPT_MS = 86_400_000  # the item of a caller's own pool expires a day after its last use


@dataclass(frozen=True, slots=True)
class PoolTimes:
    """The times by which everyone in a pool lives, in milliseconds.

    Attributes:
        upstream_call_max_ms: The longest that the upstream may go on counting a call, whatever becomes of us.
        skew_ms: The clock error that is tolerated.
        send_max_ms: From the last check of a lease to the request's bytes leaving.
        renew_ms: How often leases are prolonged.
        lease_ms: How long a slot stays its holder's without being renewed.
    """

    upstream_call_max_ms: int = 60_000
    skew_ms: int = 2_000
    send_max_ms: int = 2_000
    renew_ms: int = 10_000
    lease_ms: int = 80_000

    def __post_init__(self) -> None:
        """Hold the relation on which the call rule and the reclaim rule rest (DESIGN, section 5).

        A lease just renewed must cover a whole call until the next renewal is due.
        """
        assert min(self.upstream_call_max_ms, self.skew_ms, self.send_max_ms, self.renew_ms) > 0
        assert self.lease_ms >= self.upstream_call_max_ms + self.skew_ms + self.send_max_ms + self.renew_ms

    @property
    def drain_ms(self) -> int:
        """How long after a call began its slot stays shut when its end is unknown, by a clock that may run fast."""
        duration_ms = self.send_max_ms + self.upstream_call_max_ms
        return duration_ms + -(-duration_ms * CLOCK_DRIFT_PPM // 1_000_000)

    @property
    def recovery_ms(self) -> int:
        """How long after its holder vanished a slot is usable again at the latest (I2)."""
        return self.lease_ms + self.skew_ms + self.send_max_ms


DEFAULT_TIMES = PoolTimes()
TEST_TIMES = PoolTimes(
    upstream_call_max_ms=6_000, skew_ms=1_000, send_max_ms=1_000, renew_ms=1_000, lease_ms=10_000
)  # recovery in seconds, for tests that kill

assert REQUEST_DEADLINE_MS < FUNCTION_TIMEOUT_MS < GATEWAY_TIMEOUT_MS
assert DEFAULT_TIMES.renew_ms > TABLE_TIMEOUT_MS
assert JOBS_LISTED_MAX < JOBS_LOOKED_AT_MAX
assert WITHDRAW_MAX_MS < ANSWER_RESERVE_MS < HAND_OVER_MS
assert CONCURRENCY_DEFAULT <= CONCURRENCY_MAX
assert UPSTREAM_OBJECT_BYTES_MAX <= UPSTREAM_ANSWER_BYTES_MAX
assert -(-AUDIO_BYTES_MAX // 3) * 4 + 64 * 1024 <= LAMBDA_ANSWER_BYTES_MAX  # its headers and its JSON are small
assert LOOK_MAX_MS + LOOK_RESERVE_MS < REQUEST_DEADLINE_MS < CLIENT_ANSWER_MS
CALLBACK_DOUBLINGS = (CALLBACK_WAIT_MAX_MS // CALLBACK_WAIT_MS).bit_length()  # waits below the longest one
CALLBACK_TRIED_MS = (
    CALLBACK_WAIT_MS * (2**CALLBACK_DOUBLINGS - 1)
    + (CALLBACK_ATTEMPTS_MAX - 1 - CALLBACK_DOUBLINGS) * CALLBACK_WAIT_MAX_MS
)
assert CALLBACK_WAIT_MS << (CALLBACK_DOUBLINGS - 1) <= CALLBACK_WAIT_MAX_MS < CALLBACK_WAIT_MS << CALLBACK_DOUBLINGS
assert 86_400_000 <= CALLBACK_TRIED_MS < 86_400_000 + CALLBACK_WAIT_MAX_MS  # a receiver may be down over night
assert CALLBACK_WAIT_MS < CALLBACK_WAIT_MAX_MS <= 900_000
assert UPLOAD_LINE_BYTES_MAX >= 12 * TEXT_CHARACTERS_MAX
assert UPLOAD_PART_BYTES > UPLOAD_LINE_BYTES_MAX
assert UPLOAD_BYTES_MAX >= JOB_TASKS_MAX * (SEGMENT_BYTES_MAX + 256)
assert CALLBACK_RESOLVE_MAX_MS < CALLBACK_SEND_MAX_MS
