/* A PKCS #11 v2.40 module for tests, in front of another one (SoftHSM2).
 *
 * It can answer return codes of our choice, count and delay calls, take tokens away, and record every buffer that crosses.
 * In CloudHSM mode it refuses what AWS CloudHSM Client SDK 5 refuses, as far as that is documented (docs/hsm.md names the
 * pages), and has its vendor mechanisms. With SM4 it has vendor mechanisms for SM4, which are AES-128 underneath.
 *
 * Environment: KEYSTEAD_SHIM_MODULE (the module behind), KEYSTEAD_SHIM_CLOUDHSM=1, KEYSTEAD_SHIM_SM4=1, and
 * KEYSTEAD_SHIM_FOLDER: while it has a file `removed-<label>`, that token is gone; `hangs-<label>` has the milliseconds that
 * each call to that token takes.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef unsigned char byte_t;

typedef struct { ulong_t type; void *value; ulong_t length; } attribute;
typedef struct { ulong_t mechanism; void *parameter; ulong_t length; } mechanism;
typedef struct { byte_t *iv; ulong_t iv_length, iv_bits; byte_t *aad; ulong_t aad_length, tag_bits; } gcm_params;

enum {
    OK = 0, DEVICE_MEMORY = 0x31, DEVICE_REMOVED = 0x32, ARGUMENTS_BAD = 7, FUNCTION_FAILED = 6,
    ATTRIBUTE_TYPE_INVALID = 0x12, ATTRIBUTE_VALUE_INVALID = 0x13, DATA_LEN_RANGE = 0x21,
    ENCRYPTED_DATA_INVALID = 0x40, ENCRYPTED_DATA_LEN_RANGE = 0x41, FUNCTION_NOT_SUPPORTED = 0x54,
    MECHANISM_INVALID = 0x70, MECHANISM_PARAM_INVALID = 0x71, PIN_INCORRECT = 0xA0,
    SESSION_COUNT = 0xB1, SESSION_HANDLE_INVALID = 0xB3, TEMPLATE_INCOMPLETE = 0xD0, TEMPLATE_INCONSISTENT = 0xD1,
    TOKEN_NOT_PRESENT = 0xE0,
    BUFFER_TOO_SMALL = 0x150,

    CKA_CLASS = 0, CKA_TOKEN = 1, CKA_PRIVATE = 2, CKA_VALUE_LEN = 0x161, CKA_KEY_TYPE = 0x100, CKA_SENSITIVE = 0x103,
    CKA_MODULUS_BITS = 0x121, CKA_PUBLIC_EXPONENT = 0x122,
    CKM_AES_KEY_GEN = 0x1080, CKM_AES_ECB = 0x1081, CKM_AES_GCM = 0x1087, CKM_AES_KEY_WRAP_PAD = 0x210A,
    CKM_SHA256_HMAC = 0x251,
    CKK_AES = 0x1F, CKK_EC = 3, CKK_RSA = 0, CKK_GENERIC_SECRET = 0x10,
    GCM_BYTES = 16224, HMAC_BYTES = 16288, IV_BYTES = 12, TAG_BYTES = 16,
};
#define CLOUDHSM_GCM 0x80001087UL
#define CLOUDHSM_WRAP 0x8000216FUL
#define CKK_SM4 0x80000300UL
#define SM4_KEY_GEN 0x80000301UL
#define SM4_GCM 0x80000302UL
#define SM4_WRAP 0x80000303UL
#define SM4_ECB 0x80000304UL

#define FUNCTIONS(X)                                                                                                     \
    X(Initialize) X(Finalize) X(GetInfo) X(GetFunctionList) X(GetSlotList) X(GetSlotInfo) X(GetTokenInfo)                \
    X(GetMechanismList) X(GetMechanismInfo) X(InitToken) X(InitPIN) X(SetPIN) X(OpenSession) X(CloseSession)             \
    X(CloseAllSessions) X(GetSessionInfo) X(GetOperationState) X(SetOperationState) X(Login) X(Logout) X(CreateObject)   \
    X(CopyObject) X(DestroyObject) X(GetObjectSize) X(GetAttributeValue) X(SetAttributeValue) X(FindObjectsInit)         \
    X(FindObjects) X(FindObjectsFinal) X(EncryptInit) X(Encrypt) X(EncryptUpdate) X(EncryptFinal) X(DecryptInit)         \
    X(Decrypt) X(DecryptUpdate) X(DecryptFinal) X(DigestInit) X(Digest) X(DigestUpdate) X(DigestKey) X(DigestFinal)      \
    X(SignInit) X(Sign) X(SignUpdate) X(SignFinal) X(SignRecoverInit) X(SignRecover) X(VerifyInit) X(Verify)             \
    X(VerifyUpdate) X(VerifyFinal) X(VerifyRecoverInit) X(VerifyRecover) X(DigestEncryptUpdate) X(DecryptDigestUpdate)   \
    X(SignEncryptUpdate) X(DecryptVerifyUpdate) X(GenerateKey) X(GenerateKeyPair) X(WrapKey) X(UnwrapKey) X(DeriveKey)   \
    X(SeedRandom) X(GenerateRandom) X(GetFunctionStatus) X(CancelFunction) X(WaitForSlotEvent)

enum {
#define X(name) F_##name,
    FUNCTIONS(X)
#undef X
    COUNT
};
static const char *const NAMES[] = {
#define X(name) #name,
    FUNCTIONS(X)
#undef X
};

typedef struct { byte_t major, minor; void *at[COUNT]; } function_list;
static function_list behind, ours;
#define BEHIND(name, ...) (((ulong_t(*)(TYPES_##name))behind.at[F_##name])(__VA_ARGS__))

#define TYPES_Initialize void *
#define TYPES_Finalize void *
#define TYPES_GetSlotList byte_t, ulong_t *, ulong_t *
#define TYPES_GetTokenInfo ulong_t, void *
#define TYPES_GetMechanismList ulong_t, ulong_t *, ulong_t *
#define TYPES_OpenSession ulong_t, ulong_t, void *, void *, ulong_t *
#define TYPES_CloseSession ulong_t
#define TYPES_CloseAllSessions ulong_t
#define TYPES_Login ulong_t, ulong_t, byte_t *, ulong_t
#define TYPES_Logout ulong_t
#define TYPES_CreateObject ulong_t, attribute *, ulong_t, ulong_t *
#define TYPES_CopyObject ulong_t, ulong_t, attribute *, ulong_t, ulong_t *
#define TYPES_DestroyObject ulong_t, ulong_t
#define TYPES_GetAttributeValue ulong_t, ulong_t, attribute *, ulong_t
#define TYPES_SetAttributeValue ulong_t, ulong_t, attribute *, ulong_t
#define TYPES_FindObjectsInit ulong_t, attribute *, ulong_t
#define TYPES_FindObjects ulong_t, ulong_t *, ulong_t, ulong_t *
#define TYPES_FindObjectsFinal ulong_t
#define TYPES_EncryptInit ulong_t, mechanism *, ulong_t
#define TYPES_Encrypt ulong_t, byte_t *, ulong_t, byte_t *, ulong_t *
#define TYPES_DecryptInit ulong_t, mechanism *, ulong_t
#define TYPES_Decrypt ulong_t, byte_t *, ulong_t, byte_t *, ulong_t *
#define TYPES_SignInit ulong_t, mechanism *, ulong_t
#define TYPES_Sign ulong_t, byte_t *, ulong_t, byte_t *, ulong_t *
#define TYPES_VerifyInit ulong_t, mechanism *, ulong_t
#define TYPES_Verify ulong_t, byte_t *, ulong_t, byte_t *, ulong_t
#define TYPES_GenerateKey ulong_t, mechanism *, attribute *, ulong_t, ulong_t *
#define TYPES_GenerateKeyPair                                                                                            \
    ulong_t, mechanism *, attribute *, ulong_t, attribute *, ulong_t, ulong_t *, ulong_t *
#define TYPES_WrapKey ulong_t, mechanism *, ulong_t, ulong_t, byte_t *, ulong_t *
#define TYPES_UnwrapKey ulong_t, mechanism *, ulong_t, byte_t *, ulong_t, attribute *, ulong_t, ulong_t *
#define TYPES_GenerateRandom ulong_t, byte_t *, ulong_t

/* State, under the lock. */

typedef struct {
    ulong_t handle, slot, signs, verifies;
    char label[33];
    int is_dead, has_iv_in_front; /* of what C_Encrypt or C_Decrypt does next */
    byte_t iv[IV_BYTES], *aad;
    ulong_t aad_length, key;
} session_entry;
typedef struct { ulong_t handle, session; } object_entry; /* session 0: a token object */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static session_entry *sessions;
static size_t sessions_used, sessions_size;
static object_entry *objects;
static size_t objects_used, objects_size;
static struct { ulong_t code; long skip, times, calls, delay; } faults[COUNT];
static int is_cloudhsm, has_sm4, is_recording, is_disturbed, looking;
static long looks;
static ulong_t session_limit = 1024, object_limit = 3300, more_flags;
static byte_t *recorded;
static size_t recorded_used, recorded_size;
static char folder[1024], module[1024];

static void *grow(void *array, size_t used, size_t *size, size_t item) {
    if (used < *size) return array;
    *size = *size ? 2 * *size : 64;
    array = realloc(array, *size * item);
    if (!array) abort();
    return array;
}

static session_entry *find_session(ulong_t handle) {
    for (size_t at = 0; at < sessions_used; at++)
        if (sessions[at].handle == handle) return &sessions[at];
    return NULL;
}

static void forget_session(size_t at) {
    ulong_t handle = sessions[at].handle;
    free(sessions[at].aad);
    sessions[at] = sessions[--sessions_used];
    for (size_t object = 0; object < objects_used;)
        if (objects[object].session == handle) objects[object] = objects[--objects_used];
        else object++;
}

static void forget_all(void) {
    while (sessions_used) forget_session(0);
    objects_used = 0;
}

/* What tests control. */

static int index_of(const char *name) {
    for (int at = 0; at < COUNT; at++)
        if (!strcmp(NAMES[at], name)) return at;
    return -1;
}

/* The next `times` calls, after `skip` others, answer `code` and do nothing. */
int keystead_shim_fail(const char *name, ulong_t code, long skip, long times) {
    int at = index_of(name);
    if (at < 0) return 0;
    pthread_mutex_lock(&lock);
    faults[at].code = code; faults[at].skip = skip; faults[at].times = times;
    pthread_mutex_unlock(&lock);
    return 1;
}

int keystead_shim_delay(const char *name, long milliseconds) {
    int at = index_of(name);
    if (at >= 0) faults[at].delay = milliseconds;
    return at >= 0;
}

long keystead_shim_calls(const char *name) {
    int at = index_of(name);
    return at < 0 ? -1 : faults[at].calls;
}

/* No faults, no delays, no disturbance, no flags, all counts zero, nothing recorded. Modes and limits stay. */
void keystead_shim_reset(void) {
    pthread_mutex_lock(&lock);
    memset(faults, 0, sizeof faults);
    is_recording = is_disturbed = 0;
    more_flags = 0;
    if (recorded) memset(recorded, 0, recorded_used);
    recorded_used = 0;
    pthread_mutex_unlock(&lock);
}

void keystead_shim_mode(int cloudhsm, int sm4) { is_cloudhsm = cloudhsm; has_sm4 = sm4; }

void keystead_shim_limits(ulong_t open_sessions, ulong_t keys) { session_limit = open_sessions; object_limit = keys; }

/* A token object is refused if a thread looks for objects while it is made. In SoftHSM2 that happens by chance. */
void keystead_shim_disturb(void) { is_disturbed = 1; }

/* More flags of CK_TOKEN_INFO. */
void keystead_shim_flags(ulong_t flags) { more_flags = flags; }

void keystead_shim_folder(const char *path) { snprintf(folder, sizeof folder, "%s", path); }

/* The module behind, before this one is used. */
void keystead_shim_module(const char *path) { snprintf(module, sizeof module, "%s", path); }

void keystead_shim_record(int on) { is_recording = on; }

const byte_t *keystead_shim_recorded(size_t *length) { *length = recorded_used; return recorded; }

ulong_t keystead_shim_sessions(void) { return sessions_used; }

ulong_t keystead_shim_objects(void) { return objects_used; }

/* Records: a byte with the function's place, '<' for what goes in or '>' for what comes out, 8 bytes of length, the bytes. */
static void record(int function, char direction, const void *bytes, ulong_t length) {
    if (!is_recording || !bytes || length == (ulong_t)-1) return;
    pthread_mutex_lock(&lock);
    while (recorded_used + length + 10 > recorded_size) {
        recorded_size = recorded_size ? 2 * recorded_size : 1 << 16;
        recorded = realloc(recorded, recorded_size);
        if (!recorded) abort();
    }
    recorded[recorded_used] = (byte_t)function;
    recorded[recorded_used + 1] = (byte_t)direction;
    for (int at = 0; at < 8; at++) recorded[recorded_used + 2 + at] = (byte_t)(length >> 8 * at);
    memcpy(recorded + recorded_used + 10, bytes, length);
    recorded_used += length + 10;
    pthread_mutex_unlock(&lock);
}

static void record_template(int function, char direction, const attribute *template, ulong_t count) {
    for (ulong_t at = 0; template && at < count; at++) record(function, direction, template[at].value, template[at].length);
}

static void record_mechanism(int function, const mechanism *used) {
    if (!used) return;
    record(function, '<', used->parameter, used->length);
    if (used->length == sizeof(gcm_params) && used->parameter) {
        const gcm_params *gcm = used->parameter;
        record(function, '<', gcm->iv, gcm->iv ? gcm->iv_length : 0);
        record(function, '<', gcm->aad, gcm->aad_length);
    }
}

/* What happens before every call: nonzero is the answer. */

static void wait_for(long milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    if (milliseconds > 0) nanosleep(&time, NULL);
}

static int is_removed(const char *label) {
    char path[1200], text[16] = "";
    if (!*folder || !*label) return 0;
    snprintf(path, sizeof path, "%s/hangs-%s", folder, label);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fgets(text, sizeof text, file)) wait_for(atol(text));
        fclose(file);
    }
    snprintf(path, sizeof path, "%s/removed-%s", folder, label);
    return !access(path, F_OK);
}

static void label_of(ulong_t slot, char label[33]) {
    byte_t info[512] = {0};
    label[0] = 0;
    if (BEHIND(GetTokenInfo, slot, info)) return;
    memcpy(label, info, 32);
    label[32] = 0;
    for (int end = 31; end >= 0 && label[end] == ' '; end--) label[end] = 0;
}

static ulong_t before(int at) {
    ulong_t code = OK;
    pthread_mutex_lock(&lock);
    faults[at].calls++;
    if (faults[at].times > 0 && faults[at].skip-- <= 0) {
        faults[at].times--;
        code = faults[at].code;
    }
    long delay = faults[at].delay;
    pthread_mutex_unlock(&lock);
    wait_for(delay);
    return code;
}

static ulong_t before_in_session(int at, ulong_t handle) {
    char label[33] = "";
    int is_dead = 0;
    ulong_t code = before(at);
    if (code) return code;
    pthread_mutex_lock(&lock);
    session_entry *session = find_session(handle);
    if (session) {
        strcpy(label, session->label);
        is_dead = session->is_dead;
    }
    pthread_mutex_unlock(&lock);
    if (is_removed(label)) {
        pthread_mutex_lock(&lock);
        if ((session = find_session(handle))) session->is_dead = 1;
        pthread_mutex_unlock(&lock);
        return DEVICE_REMOVED;
    }
    return is_dead ? SESSION_HANDLE_INVALID : OK;
}

#define BEFORE(name)                                                                                                     \
    ulong_t code = before(F_##name);                                                                                     \
    if (code) return code
#define BEFORE_IN_SESSION(name, session)                                                                                 \
    ulong_t code = before_in_session(F_##name, session);                                                                 \
    if (code) return code

/* A call that fails ends the operation, except when it wants a larger buffer. */
#define BEFORE_END(name, session, ...)                                                                                   \
    ulong_t code = before_in_session(F_##name, session);                                                                 \
    if (code && code != BUFFER_TOO_SMALL) BEHIND(name, session, __VA_ARGS__);                                            \
    if (code) return code

/* CloudHSM: mechanisms (pkcs11-mechanisms) and attributes (pkcs11-attributes-interpreting). */

static const ulong_t CLOUDHSM_MECHANISMS[] = {
    0x0, 0xA, 0x1040, 0x350, 0x1080, /* generation */
    0x1, 0x3, 0xD, 0x6, 0x46, 0x40, 0x41, 0x42, 0xE, 0x47, 0x43, 0x44, 0x45, /* RSA */
    0x1041, 0x1042, 0x1043, 0x1044, 0x1045, 0x1046, 0x221, 0x256, 0x251, 0x261, 0x271, 0x108A, /* ECDSA, HMAC, CMAC */
    0x220, 0x255, 0x250, 0x260, 0x270, 0x9, 0x1081, 0x1086, 0x1082, 0x1085, 0x1087, CLOUDHSM_GCM, /* digests, encryption */
    CLOUDHSM_WRAP,
};
static const ulong_t SM4_MECHANISMS[] = {SM4_KEY_GEN, SM4_GCM, SM4_WRAP, SM4_ECB};

static int contains(const ulong_t *array, size_t count, ulong_t value) {
    for (size_t at = 0; at < count; at++)
        if (array[at] == value) return 1;
    return 0;
}
#define LENGTH(array) (sizeof(array) / sizeof *(array))

static ulong_t translate(const mechanism *from, mechanism *to) {
    if (!from) return ARGUMENTS_BAD;
    *to = *from;
    if (has_sm4 && contains(SM4_MECHANISMS, LENGTH(SM4_MECHANISMS), from->mechanism)) {
        static const ulong_t as[] = {CKM_AES_KEY_GEN, CKM_AES_GCM, CKM_AES_KEY_WRAP_PAD, CKM_AES_ECB};
        to->mechanism = as[from->mechanism - SM4_KEY_GEN];
        return OK;
    }
    if (!is_cloudhsm) return OK;
    if (!contains(CLOUDHSM_MECHANISMS, LENGTH(CLOUDHSM_MECHANISMS), from->mechanism)) return MECHANISM_INVALID;
    if (from->mechanism == CLOUDHSM_WRAP) to->mechanism = CKM_AES_KEY_WRAP_PAD;
    return OK;
}

enum { EC_PRIVATE = 1, EC_PUBLIC = 2, RSA_PRIVATE = 4, RSA_PUBLIC = 8, AES = 16, GENERIC = 32 };
enum { BY_PAIR, BY_KEY, BY_CREATE, BY_UNWRAP };
static const struct { ulong_t type; byte_t by[4]; } ATTRIBUTES[] = {
    {0x000, {15, 48, 63, 53}}, {0x100, {15, 48, 63, 53}}, {0x003, {15, 48, 63, 53}}, {0x102, {15, 48, 63, 53}}, /* CLASS, KEY_TYPE, LABEL, ID */
    {0x001, {15, 48, 63, 53}}, {0x002, {15, 48, 63, 53}}, {0x104, {10, 16, 24, 16}}, {0x105, {5, 16, 20, 20}}, /* TOKEN, PRIVATE, ENCRYPT, DECRYPT */
    {0x10C, {15, 48, 63, 53}}, {0x170, {15, 48, 63, 53}}, {0x172, {15, 48, 63, 53}}, /* DERIVE, MODIFIABLE, DESTROYABLE */
    {0x108, {5, 48, 53, 53}}, {0x10A, {10, 48, 58, 48}}, {0x106, {10, 16, 24, 16}}, {0x107, {5, 16, 20, 20}}, /* SIGN, VERIFY, WRAP, UNWRAP */
    {0x40000211, {10, 16, 26, 0}}, {0x40000212, {5, 16, 21, 0}}, {0x86, {10, 16, 26, 0}}, {0x210, {5, 48, 53, 0}}, /* *_TEMPLATE, TRUSTED, WRAP_WITH_TRUSTED */
    {0x103, {5, 48, 53, 53}}, {0x162, {5, 48, 53, 53}}, {0x161, {0, 48, 0, 0}}, {0x011, {0, 0, 49, 0}}, /* SENSITIVE, EXTRACTABLE, VALUE_LEN, VALUE */
    {0x121, {8, 0, 0, 0}}, {0x122, {8, 0, 12, 0}}, {0x120, {0, 0, 12, 0}}, {0x123, {0, 0, 4, 0}}, /* MODULUS_BITS, exponents, MODULUS */
    {0x124, {0, 0, 4, 0}}, {0x125, {0, 0, 4, 0}}, {0x126, {0, 0, 4, 0}}, {0x127, {0, 0, 4, 0}}, {0x128, {0, 0, 4, 0}}, /* primes */
    {0x180, {2, 0, 3, 0}}, {0x181, {0, 0, 2, 0}}, /* EC_PARAMS, EC_POINT */
};

static const attribute *find_attribute(const attribute *template, ulong_t count, ulong_t type) {
    for (ulong_t at = 0; at < count; at++)
        if (template[at].type == type) return &template[at];
    return NULL;
}

static ulong_t number_of(const attribute *template, ulong_t count, ulong_t type, ulong_t otherwise) {
    const attribute *found = find_attribute(template, count, type);
    return found && found->value && found->length == sizeof(ulong_t) ? *(const ulong_t *)found->value : otherwise;
}

static int boolean_of(const attribute *template, ulong_t count, ulong_t type, int otherwise) {
    const attribute *found = find_attribute(template, count, type);
    return found && found->value && found->length == 1 ? *(const byte_t *)found->value : otherwise;
}

static ulong_t check_template(const attribute *template, ulong_t count, int by, int key) {
    if (!is_cloudhsm) return OK;
    for (ulong_t at = 0; at < count; at++) {
        size_t row = 0;
        while (row < LENGTH(ATTRIBUTES) && ATTRIBUTES[row].type != template[at].type) row++;
        if (row == LENGTH(ATTRIBUTES) || !(ATTRIBUTES[row].by[by] & key)) return ATTRIBUTE_TYPE_INVALID;
    }
    if (!boolean_of(template, count, CKA_PRIVATE, 1)) return ATTRIBUTE_VALUE_INVALID;
    if (by == BY_PAIR && !boolean_of(template, count, CKA_SENSITIVE, 1)) return ATTRIBUTE_VALUE_INVALID;
    if (by == BY_KEY && !find_attribute(template, count, CKA_VALUE_LEN)) return TEMPLATE_INCOMPLETE;
    if (by == BY_UNWRAP || by == BY_CREATE)
        if (!find_attribute(template, count, CKA_CLASS) || !find_attribute(template, count, CKA_KEY_TYPE))
            return TEMPLATE_INCOMPLETE;
    if (by == BY_PAIR && key == RSA_PUBLIC)
        if (!find_attribute(template, count, CKA_MODULUS_BITS) || !find_attribute(template, count, CKA_PUBLIC_EXPONENT))
            return TEMPLATE_INCOMPLETE;
    return OK;
}

static int kind_of(const attribute *template, ulong_t count) {
    ulong_t class = number_of(template, count, CKA_CLASS, 4), type = number_of(template, count, CKA_KEY_TYPE, CKK_AES);
    if (class == 2) return type == CKK_RSA ? RSA_PUBLIC : EC_PUBLIC;
    if (class == 3) return type == CKK_RSA ? RSA_PRIVATE : EC_PRIVATE;
    return type == CKK_GENERIC_SECRET ? GENERIC : AES;
}

/* CKK_SM4 is AES-128 underneath: the template with that key type and length, in `copy` of at least count + 1. */
static ulong_t with_sm4(const attribute *template, ulong_t count, attribute *copy, int is_generated) {
    static ulong_t aes = CKK_AES, length = 16;
    memcpy(copy, template, count * sizeof *copy);
    if (!has_sm4) return count;
    for (ulong_t at = 0; at < count; at++)
        if (copy[at].type == CKA_KEY_TYPE && number_of(template, count, CKA_KEY_TYPE, 0) == CKK_SM4) copy[at].value = &aes;
    if (is_generated && !find_attribute(template, count, CKA_VALUE_LEN))
        copy[count++] = (attribute){CKA_VALUE_LEN, &length, sizeof length};
    return count;
}
#define TEMPLATE_SIZE 64

/* Keys are counted as they come and go: 3,300 of them, those of sessions included. */

static ulong_t check_room(void) {
    pthread_mutex_lock(&lock);
    int is_full = is_cloudhsm && objects_used >= object_limit;
    pthread_mutex_unlock(&lock);
    return is_full ? DEVICE_MEMORY : OK;
}

static void count_object(ulong_t handle, ulong_t session, const attribute *template, ulong_t count) {
    pthread_mutex_lock(&lock);
    objects = grow(objects, objects_used, &objects_size, sizeof *objects);
    objects[objects_used++] = (object_entry){handle, boolean_of(template, count, CKA_TOKEN, 0) ? 0 : session};
    pthread_mutex_unlock(&lock);
}

/* How often objects were looked for, -1 while they are. */
static long undisturbed(void) {
    return __atomic_load_n(&looking, __ATOMIC_SEQ_CST) ? -1 : __atomic_load_n(&looks, __ATOMIC_SEQ_CST);
}

/* What making an object answers that was begun when `undisturbed` was `begin`. */
static ulong_t disturbance(long begin, const attribute *template, ulong_t count) {
    int is_alone = begin >= 0 && begin == undisturbed();
    return is_disturbed && !is_alone && boolean_of(template, count, CKA_TOKEN, 0) ? TEMPLATE_INCONSISTENT : OK;
}

/* Functions. */

static ulong_t Initialize(void *arguments) {
    BEFORE(Initialize);
    if ((code = BEHIND(Initialize, arguments))) return code;
    pthread_mutex_lock(&lock);
    forget_all(); /* a forked child begins here */
    pthread_mutex_unlock(&lock);
    return OK;
}

static ulong_t Finalize(void *reserved) {
    BEFORE(Finalize);
    code = BEHIND(Finalize, reserved);
    pthread_mutex_lock(&lock);
    if (!code) forget_all();
    pthread_mutex_unlock(&lock);
    return code;
}

static ulong_t GetSlotList(byte_t present, ulong_t *slots, ulong_t *count) {
    BEFORE(GetSlotList);
    ulong_t all[8192], found = 0, number = LENGTH(all);
    BEHIND(GetSlotList, present, NULL, &found); /* SoftHSM2 looks for tokens again */
    if ((code = BEHIND(GetSlotList, present, all, &number))) return code;
    found = 0;
    for (ulong_t at = 0; at < number; at++) {
        char label[33];
        label_of(all[at], label);
        if (!present || !is_removed(label)) all[found++] = all[at];
    }
    if (slots && *count < found) code = BUFFER_TOO_SMALL;
    else if (slots) memcpy(slots, all, found * sizeof *slots);
    *count = found;
    return code;
}

static ulong_t GetTokenInfo(ulong_t slot, void *info) {
    BEFORE(GetTokenInfo);
    char label[33];
    label_of(slot, label);
    if (is_removed(label)) return TOKEN_NOT_PRESENT;
    if (!(code = BEHIND(GetTokenInfo, slot, info))) *(ulong_t *)((byte_t *)info + 96) |= more_flags;
    return code;
}

static ulong_t GetMechanismList(ulong_t slot, ulong_t *list, ulong_t *count) {
    BEFORE(GetMechanismList);
    ulong_t all[512], number = LENGTH(all);
    if (is_cloudhsm) {
        number = LENGTH(CLOUDHSM_MECHANISMS);
        memcpy(all, CLOUDHSM_MECHANISMS, sizeof CLOUDHSM_MECHANISMS);
    } else if ((code = BEHIND(GetMechanismList, slot, all, &number))) return code;
    if (has_sm4) {
        memcpy(all + number, SM4_MECHANISMS, sizeof SM4_MECHANISMS);
        number += LENGTH(SM4_MECHANISMS);
    }
    if (list && *count < number) code = BUFFER_TOO_SMALL;
    else if (list) memcpy(list, all, number * sizeof *list);
    *count = number;
    return code;
}

static ulong_t OpenSession(ulong_t slot, ulong_t flags, void *application, void *notify, ulong_t *handle) {
    BEFORE(OpenSession);
    session_entry made = {0};
    label_of(slot, made.label);
    if (is_removed(made.label)) return TOKEN_NOT_PRESENT;
    if (is_cloudhsm && !(flags & 2)) return FUNCTION_FAILED; /* ki-pkcs11-sdk */
    pthread_mutex_lock(&lock);
    int is_full = is_cloudhsm && sessions_used >= session_limit;
    pthread_mutex_unlock(&lock);
    if (is_full) return SESSION_COUNT;
    if ((code = BEHIND(OpenSession, slot, flags, application, notify, handle))) return code;
    made.handle = *handle;
    made.slot = slot;
    pthread_mutex_lock(&lock);
    sessions = grow(sessions, sessions_used, &sessions_size, sizeof *sessions);
    sessions[sessions_used++] = made;
    pthread_mutex_unlock(&lock);
    return OK;
}

static ulong_t CloseSession(ulong_t handle) {
    ulong_t code = before_in_session(F_CloseSession, handle);
    ulong_t closed = code && code != SESSION_HANDLE_INVALID && code != DEVICE_REMOVED ? OK : BEHIND(CloseSession, handle);
    pthread_mutex_lock(&lock);
    for (size_t at = 0; at < sessions_used; at++)
        if (sessions[at].handle == handle) { forget_session(at); break; }
    pthread_mutex_unlock(&lock);
    return code ? code : closed;
}

static ulong_t CloseAllSessions(ulong_t slot) {
    BEFORE(CloseAllSessions);
    code = BEHIND(CloseAllSessions, slot);
    pthread_mutex_lock(&lock);
    for (size_t at = 0; at < sessions_used;)
        if (sessions[at].slot == slot) forget_session(at);
        else at++;
    pthread_mutex_unlock(&lock);
    return code;
}

static ulong_t Login(ulong_t session, ulong_t user, byte_t *pin, ulong_t length) {
    BEFORE_IN_SESSION(Login, session);
    record(F_Login, '<', pin, length);
    if (is_cloudhsm) { /* pkcs11-pin: <CU_user_name>:<password>; SoftHSM2's PIN is the password */
        byte_t *colon = pin ? memchr(pin, ':', length) : NULL;
        if (!colon || colon == pin) return PIN_INCORRECT;
        length -= (ulong_t)(colon + 1 - pin);
        pin = colon + 1;
    }
    return BEHIND(Login, session, user, pin, length);
}

static ulong_t Logout(ulong_t session) {
    BEFORE_IN_SESSION(Logout, session);
    return BEHIND(Logout, session);
}

static ulong_t CreateObject(ulong_t session, attribute *template, ulong_t count, ulong_t *handle) {
    BEFORE_IN_SESSION(CreateObject, session);
    attribute copy[TEMPLATE_SIZE + 1];
    if (count > TEMPLATE_SIZE) return ARGUMENTS_BAD;
    record_template(F_CreateObject, '<', template, count);
    if ((code = check_template(template, count, BY_CREATE, kind_of(template, count)))) return code;
    if ((code = check_room())) return code;
    count = with_sm4(template, count, copy, 0);
    if (!(code = BEHIND(CreateObject, session, copy, count, handle))) count_object(*handle, session, copy, count);
    return code;
}

static ulong_t CopyObject(ulong_t session, ulong_t object, attribute *template, ulong_t count, ulong_t *handle) {
    BEFORE_IN_SESSION(CopyObject, session);
    if (is_cloudhsm) return FUNCTION_NOT_SUPPORTED; /* pkcs11-apis */
    record_template(F_CopyObject, '<', template, count);
    if (!(code = BEHIND(CopyObject, session, object, template, count, handle)))
        count_object(*handle, session, template, count);
    return code;
}

static ulong_t DestroyObject(ulong_t session, ulong_t object) {
    BEFORE_IN_SESSION(DestroyObject, session);
    if ((code = BEHIND(DestroyObject, session, object))) return code;
    pthread_mutex_lock(&lock);
    for (size_t at = 0; at < objects_used; at++)
        if (objects[at].handle == object) { objects[at] = objects[--objects_used]; break; }
    pthread_mutex_unlock(&lock);
    return OK;
}

static ulong_t GetAttributeValue(ulong_t session, ulong_t object, attribute *template, ulong_t count) {
    BEFORE_IN_SESSION(GetAttributeValue, session);
    code = BEHIND(GetAttributeValue, session, object, template, count);
    record_template(F_GetAttributeValue, '>', template, count);
    return code;
}

static ulong_t SetAttributeValue(ulong_t session, ulong_t object, attribute *template, ulong_t count) {
    BEFORE_IN_SESSION(SetAttributeValue, session);
    if (is_cloudhsm) return FUNCTION_NOT_SUPPORTED; /* pkcs11-apis */
    record_template(F_SetAttributeValue, '<', template, count);
    return BEHIND(SetAttributeValue, session, object, template, count);
}

static ulong_t FindObjectsInit(ulong_t session, attribute *template, ulong_t count) {
    __atomic_add_fetch(&looking, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&looks, 1, __ATOMIC_SEQ_CST);
    ulong_t code = before_in_session(F_FindObjectsInit, session);
    record_template(F_FindObjectsInit, '<', template, count);
    if (!code) code = BEHIND(FindObjectsInit, session, template, count);
    __atomic_sub_fetch(&looking, 1, __ATOMIC_SEQ_CST);
    return code;
}

static ulong_t FindObjects(ulong_t session, ulong_t *handles, ulong_t room, ulong_t *count) {
    BEFORE_IN_SESSION(FindObjects, session);
    return BEHIND(FindObjects, session, handles, room, count);
}

static ulong_t FindObjectsFinal(ulong_t session) {
    BEFORE_IN_SESSION(FindObjectsFinal, session);
    return BEHIND(FindObjectsFinal, session);
}

/* GCM as CloudHSM has it: the IV is the token's. */

static ulong_t EncryptInit(ulong_t session, mechanism *used, ulong_t key) {
    BEFORE_IN_SESSION(EncryptInit, session);
    mechanism real;
    gcm_params params;
    byte_t iv[IV_BYTES];
    record_mechanism(F_EncryptInit, used);
    if ((code = translate(used, &real))) return code;
    int is_gcm = is_cloudhsm && (used->mechanism == CLOUDHSM_GCM || used->mechanism == CKM_AES_GCM);
    if (is_gcm) {
        static const byte_t zeroes[IV_BYTES];
        gcm_params *given = used->parameter;
        if (!given || used->length != sizeof params) return MECHANISM_PARAM_INVALID;
        if (used->mechanism == CLOUDHSM_GCM ? given->iv != NULL
                                            : !given->iv || given->iv_length != IV_BYTES || memcmp(given->iv, zeroes, IV_BYTES))
            return MECHANISM_PARAM_INVALID;
        if ((code = BEHIND(GenerateRandom, session, iv, IV_BYTES))) return code;
        if (given->iv) memcpy(given->iv, iv, IV_BYTES);
        params = *given;
        params.iv = iv;
        params.iv_length = IV_BYTES;
        params.iv_bits = 8 * IV_BYTES;
        real = (mechanism){CKM_AES_GCM, &params, sizeof params};
    }
    if ((code = BEHIND(EncryptInit, session, &real, key))) return code;
    pthread_mutex_lock(&lock);
    session_entry *entry = find_session(session);
    if (entry) {
        entry->has_iv_in_front = is_gcm ? 1 + (used->mechanism == CLOUDHSM_GCM) : 0;
        if (is_gcm) memcpy(entry->iv, iv, IV_BYTES);
    }
    pthread_mutex_unlock(&lock);
    return OK;
}

static ulong_t Encrypt(ulong_t session, byte_t *data, ulong_t length, byte_t *out, ulong_t *out_length) {
    BEFORE_END(Encrypt, session, data, length, out, out_length);
    byte_t iv[IV_BYTES];
    record(F_Encrypt, '<', data, length);
    pthread_mutex_lock(&lock);
    session_entry *entry = find_session(session);
    int gcm = entry ? entry->has_iv_in_front : 0;
    if (entry) memcpy(iv, entry->iv, IV_BYTES);
    pthread_mutex_unlock(&lock);
    if (gcm && length > GCM_BYTES) return DATA_LEN_RANGE;
    if (gcm == 2) {
        ulong_t needed = IV_BYTES + length + TAG_BYTES, rest;
        if (!out || *out_length < needed) {
            int has_room = !out;
            *out_length = needed;
            return has_room ? OK : BUFFER_TOO_SMALL;
        }
        rest = *out_length - IV_BYTES;
        if ((code = BEHIND(Encrypt, session, data, length, out + IV_BYTES, &rest))) return code;
        memcpy(out, iv, IV_BYTES);
        *out_length = IV_BYTES + rest;
    } else if ((code = BEHIND(Encrypt, session, data, length, out, out_length))) return code;
    record(F_Encrypt, '>', out, *out_length);
    return OK;
}

static ulong_t DecryptInit(ulong_t session, mechanism *used, ulong_t key) {
    BEFORE_IN_SESSION(DecryptInit, session);
    mechanism real;
    record_mechanism(F_DecryptInit, used);
    if ((code = translate(used, &real))) return code;
    int waits_for_iv = is_cloudhsm && used->mechanism == CLOUDHSM_GCM;
    gcm_params *given = used->parameter;
    if (waits_for_iv && (!given || used->length != sizeof *given || given->iv)) return MECHANISM_PARAM_INVALID;
    if (!waits_for_iv && (code = BEHIND(DecryptInit, session, &real, key))) return code;
    pthread_mutex_lock(&lock);
    session_entry *entry = find_session(session);
    if (entry) {
        entry->has_iv_in_front = 2 * waits_for_iv;
        entry->key = key;
        free(entry->aad);
        entry->aad = NULL;
        entry->aad_length = waits_for_iv ? given->aad_length : 0;
        if (entry->aad_length) {
            entry->aad = malloc(entry->aad_length);
            if (!entry->aad) abort();
            memcpy(entry->aad, given->aad, entry->aad_length);
        }
    }
    pthread_mutex_unlock(&lock);
    return OK;
}

static ulong_t Decrypt(ulong_t session, byte_t *data, ulong_t length, byte_t *out, ulong_t *out_length) {
    BEFORE_END(Decrypt, session, data, length, out, out_length);
    record(F_Decrypt, '<', data, length);
    pthread_mutex_lock(&lock);
    session_entry *entry = find_session(session), seen = {0};
    if (entry && entry->has_iv_in_front) {
        seen = *entry;
        entry->aad = NULL; /* ours now */
        entry->has_iv_in_front = 0;
    }
    pthread_mutex_unlock(&lock);
    if (seen.has_iv_in_front) {
        gcm_params params = {data, IV_BYTES, 8 * IV_BYTES, seen.aad, seen.aad_length, 8 * TAG_BYTES};
        mechanism real = {CKM_AES_GCM, &params, sizeof params};
        if (length < IV_BYTES + TAG_BYTES) code = ENCRYPTED_DATA_LEN_RANGE;
        else if (length > GCM_BYTES + IV_BYTES + TAG_BYTES) code = DATA_LEN_RANGE;
        else code = BEHIND(DecryptInit, session, &real, seen.key);
        free(seen.aad);
        if (code) return code;
        data += IV_BYTES;
        length -= IV_BYTES;
    }
    if ((code = BEHIND(Decrypt, session, data, length, out, out_length))) return code;
    record(F_Decrypt, '>', out, *out_length);
    return OK;
}

static void note_mac(ulong_t session, const mechanism *used, int is_verify) {
    pthread_mutex_lock(&lock);
    session_entry *entry = find_session(session);
    if (entry) *(is_verify ? &entry->verifies : &entry->signs) = used->mechanism;
    pthread_mutex_unlock(&lock);
}

static ulong_t check_mac(ulong_t session, ulong_t length, int is_verify) {
    pthread_mutex_lock(&lock);
    session_entry *entry = find_session(session);
    ulong_t used = entry ? is_verify ? entry->verifies : entry->signs : 0;
    pthread_mutex_unlock(&lock);
    return is_cloudhsm && used == CKM_SHA256_HMAC && length > HMAC_BYTES ? DATA_LEN_RANGE : OK;
}

static ulong_t SignInit(ulong_t session, mechanism *used, ulong_t key) {
    BEFORE_IN_SESSION(SignInit, session);
    mechanism real;
    record_mechanism(F_SignInit, used);
    if ((code = translate(used, &real))) return code;
    note_mac(session, used, 0);
    return BEHIND(SignInit, session, &real, key);
}

static ulong_t Sign(ulong_t session, byte_t *data, ulong_t length, byte_t *signature, ulong_t *signature_length) {
    BEFORE_END(Sign, session, data, length, signature, signature_length);
    record(F_Sign, '<', data, length);
    if ((code = check_mac(session, length, 0))) return code;
    if ((code = BEHIND(Sign, session, data, length, signature, signature_length))) return code;
    record(F_Sign, '>', signature, *signature_length);
    return OK;
}

static ulong_t VerifyInit(ulong_t session, mechanism *used, ulong_t key) {
    BEFORE_IN_SESSION(VerifyInit, session);
    mechanism real;
    record_mechanism(F_VerifyInit, used);
    if ((code = translate(used, &real))) return code;
    note_mac(session, used, 1);
    return BEHIND(VerifyInit, session, &real, key);
}

static ulong_t Verify(ulong_t session, byte_t *data, ulong_t length, byte_t *signature, ulong_t signature_length) {
    BEFORE_END(Verify, session, data, length, signature, signature_length);
    record(F_Verify, '<', data, length);
    record(F_Verify, '<', signature, signature_length);
    if ((code = check_mac(session, length, 1))) return code;
    return BEHIND(Verify, session, data, length, signature, signature_length);
}

static ulong_t GenerateKey(ulong_t session, mechanism *used, attribute *template, ulong_t count, ulong_t *handle) {
    BEFORE_IN_SESSION(GenerateKey, session);
    mechanism real;
    attribute copy[TEMPLATE_SIZE + 1];
    if (count > TEMPLATE_SIZE) return ARGUMENTS_BAD;
    record_mechanism(F_GenerateKey, used);
    record_template(F_GenerateKey, '<', template, count);
    if ((code = translate(used, &real))) return code;
    int is_sm4 = has_sm4 && used->mechanism == SM4_KEY_GEN;
    if (!is_sm4 && (code = check_template(template, count, BY_KEY, used->mechanism == CKM_AES_KEY_GEN ? AES : GENERIC)))
        return code;
    if ((code = check_room())) return code;
    count = with_sm4(template, count, copy, is_sm4);
    if (!(code = BEHIND(GenerateKey, session, &real, copy, count, handle))) count_object(*handle, session, copy, count);
    return code;
}

static ulong_t GenerateKeyPair(ulong_t session, mechanism *used, attribute *public, ulong_t public_count,
                               attribute *private, ulong_t private_count, ulong_t *public_handle, ulong_t *private_handle) {
    long begin = undisturbed();
    BEFORE_IN_SESSION(GenerateKeyPair, session);
    if ((code = disturbance(begin, private, private_count))) return code;
    mechanism real;
    record_mechanism(F_GenerateKeyPair, used);
    record_template(F_GenerateKeyPair, '<', public, public_count);
    record_template(F_GenerateKeyPair, '<', private, private_count);
    if ((code = translate(used, &real))) return code;
    int is_ec = used->mechanism == 0x1040;
    if ((code = check_template(public, public_count, BY_PAIR, is_ec ? EC_PUBLIC : RSA_PUBLIC))) return code;
    if ((code = check_template(private, private_count, BY_PAIR, is_ec ? EC_PRIVATE : RSA_PRIVATE))) return code;
    if ((code = check_room())) return code;
    code = BEHIND(GenerateKeyPair, session, &real, public, public_count, private, private_count, public_handle, private_handle);
    if (code) return code;
    count_object(*public_handle, session, public, public_count);
    count_object(*private_handle, session, private, private_count);
    return OK;
}

static ulong_t WrapKey(ulong_t session, mechanism *used, ulong_t wrapping, ulong_t key, byte_t *out, ulong_t *out_length) {
    BEFORE_IN_SESSION(WrapKey, session);
    mechanism real;
    record_mechanism(F_WrapKey, used);
    if ((code = translate(used, &real))) return code;
    if ((code = BEHIND(WrapKey, session, &real, wrapping, key, out, out_length))) return code;
    record(F_WrapKey, '>', out, *out_length);
    return OK;
}

static ulong_t UnwrapKey(ulong_t session, mechanism *used, ulong_t unwrapping, byte_t *wrapped, ulong_t length,
                         attribute *template, ulong_t count, ulong_t *handle) {
    long begin = undisturbed();
    BEFORE_IN_SESSION(UnwrapKey, session);
    if ((code = disturbance(begin, template, count))) return code;
    mechanism real;
    attribute copy[TEMPLATE_SIZE + 1];
    if (count > TEMPLATE_SIZE) return ARGUMENTS_BAD;
    record_mechanism(F_UnwrapKey, used);
    record(F_UnwrapKey, '<', wrapped, length);
    record_template(F_UnwrapKey, '<', template, count);
    if ((code = translate(used, &real))) return code;
    if ((code = check_template(template, count, BY_UNWRAP, kind_of(template, count)))) return code;
    if ((code = check_room())) return code;
    count = with_sm4(template, count, copy, 0);
    code = BEHIND(UnwrapKey, session, &real, unwrapping, wrapped, length, copy, count, handle);
    if (!code) count_object(*handle, session, copy, count);
    return code;
}

static ulong_t GenerateRandom(ulong_t session, byte_t *out, ulong_t length) {
    BEFORE_IN_SESSION(GenerateRandom, session);
    if ((code = BEHIND(GenerateRandom, session, out, length))) return code;
    record(F_GenerateRandom, '>', out, length);
    return OK;
}

static void unlock_after_fork(void) { pthread_mutex_init(&lock, NULL); }

ulong_t C_GetFunctionList(function_list **list) {
    static int is_done;
    pthread_mutex_lock(&lock);
    if (!is_done) {
        const char *path = *module ? module : getenv("KEYSTEAD_SHIM_MODULE"), *value;
        void *library = path ? dlopen(path, RTLD_NOW) : NULL;
        ulong_t (*get)(function_list **) = library ? (ulong_t(*)(function_list **))dlsym(library, "C_GetFunctionList") : NULL;
        function_list *found;
        if (!get || get(&found)) {
            pthread_mutex_unlock(&lock);
            return FUNCTION_FAILED;
        }
        behind = ours = *found;
#define OURS(name) ours.at[F_##name] = (void *)name;
        OURS(Initialize) OURS(Finalize) OURS(GetSlotList) OURS(GetTokenInfo) OURS(GetMechanismList) OURS(OpenSession)
        OURS(CloseSession) OURS(CloseAllSessions) OURS(Login) OURS(Logout) OURS(CreateObject) OURS(CopyObject)
        OURS(DestroyObject) OURS(GetAttributeValue) OURS(SetAttributeValue) OURS(FindObjectsInit) OURS(FindObjects)
        OURS(FindObjectsFinal) OURS(EncryptInit) OURS(Encrypt) OURS(DecryptInit) OURS(Decrypt) OURS(SignInit) OURS(Sign)
        OURS(VerifyInit) OURS(Verify) OURS(GenerateKey) OURS(GenerateKeyPair) OURS(WrapKey) OURS(UnwrapKey)
        OURS(GenerateRandom)
        ours.at[F_GetFunctionList] = (void *)C_GetFunctionList;
        if (!*module) {
            if ((value = getenv("KEYSTEAD_SHIM_CLOUDHSM"))) is_cloudhsm = *value == '1';
            if ((value = getenv("KEYSTEAD_SHIM_SM4"))) has_sm4 = *value == '1';
            if ((value = getenv("KEYSTEAD_SHIM_FOLDER"))) keystead_shim_folder(value);
        }
        pthread_atfork(NULL, NULL, unlock_after_fork);
        is_done = 1;
    }
    *list = &ours;
    pthread_mutex_unlock(&lock);
    return OK;
}
