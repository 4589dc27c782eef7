-- unstick in Wireshark and tshark: frames of prefix, JSON header and body (PROTOCOL.md), over TCP and UDP.
--
-- tshark -X lua_script:unstick.lua -r FILE; for Wireshark, put it where Help, About, Folders says "Personal Lua Plugins".
-- It is for port 8896, or those in its preferences; -d tcp.port==PORT,unstick for another. Older wires have no frames.

local unstick = Proto("unstick", "unstick")

unstick.prefs.ports = Pref.range("Ports", "8896", "of servers, over TCP and UDP", 65535)
unstick.prefs.reassemble = Pref.uint("Longest body to reassemble", 1048576, "in octets; of longer ones, each segment shows its part")

-- A longer header is one that no server takes.
local MAX_HEADER = 65536
-- As in unstick's own reader.
local MAX_DEPTH, MAX_FILENAME = 32, 255
local TCP = 2

local bad = ProtoExpert.new("unstick.bad_header", "Not a frame", expert.group.MALFORMED, expert.severity.ERROR)
local cut = ProtoExpert.new("unstick.cut", "A frame without its end", expert.group.REASSEMBLE, expert.severity.WARN)
local apart = ProtoExpert.new("unstick.apart", "A body in parts", expert.group.REASSEMBLE, expert.severity.CHAT)
local refusal = ProtoExpert.new("unstick.refusal", "A request was refused", expert.group.RESPONSE_CODE, expert.severity.NOTE)
unstick.experts = { bad, cut, apart, refusal }

-- Text ----------------------------------------------------------------------------------------------------------------

-- What well-formed UTF-8 has besides ASCII.
local SEQUENCES = {
    "^[\194-\223][\128-\191]()",
    "^\224[\160-\191][\128-\191]()",
    "^[\225-\236\238\239][\128-\191][\128-\191]()",
    "^\237[\128-\159][\128-\191]()",
    "^\240[\144-\191][\128-\191][\128-\191]()",
    "^[\241-\243][\128-\191][\128-\191][\128-\191]()",
    "^\244[\128-\143][\128-\191][\128-\191]()",
}

-- Where the first octet is, behind that at `at`, that is not UTF-8; nil if there is none.
local function not_utf8(text, at)
    at = text:find("[\128-\255]", (at or 0) + 1)
    while at do
        local behind
        for _, sequence in ipairs(SEQUENCES) do
            behind = behind or text:match(sequence, at)
        end
        if not behind then
            return at
        end
        at = text:find("[\128-\255]", behind)
    end
end

local function utf8_of(code)
    local floor = math.floor
    if code < 0x80 then
        return string.char(code)
    elseif code < 0x800 then
        return string.char(0xC0 + floor(code / 0x40), 0x80 + code % 0x40)
    elseif code < 0x10000 then
        return string.char(0xE0 + floor(code / 0x1000), 0x80 + floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
    end
    local first, second = 0xF0 + floor(code / 0x40000), 0x80 + floor(code / 0x1000) % 0x40
    return string.char(first, second, 0x80 + floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
end

-- What steers a terminal, or what hides or reorders text; and NUL, which would end a field.
local UNSAFE = {
    "[%z\1-\31\127]",
    "\194[\128-\159]",
    "\216\156",
    "\226\128[\142\143\168-\174]",
    "\226\129[\166-\169]",
    "\239\187\191",
}

local function escaped(character)
    local a, b, c = character:byte(1, 3)
    local code = c and (a - 224) * 4096 + (b - 128) * 64 + c - 128 or b and (a - 192) * 64 + b - 128 or a
    return ("\\u%04x"):format(code)
end

-- The text with what is unsafe as escapes of JSON, but for the characters in `keep`: tshark prints fields as they are.
local function printable(text, keep)
    for _, unsafe in ipairs(UNSAFE) do
        text = text:gsub(unsafe, function(character)
            return not (keep and keep:find(character, 1, true)) and escaped(character) or nil
        end)
    end
    return text
end

-- The text with each octet that is not UTF-8 in digits.
local function in_utf8(text)
    local pieces, start = {}, 1
    for at in not_utf8, text, 0 do
        pieces[#pieces + 1] = text:sub(start, at - 1) .. ("\\x%02x"):format(text:byte(at))
        start = at + 1
    end
    return table.concat(pieces) .. text:sub(start)
end

-- JSON ----------------------------------------------------------------------------------------------------------------

-- As strict as unstick's own reader. What is wrong is thrown, with its place in the text.
local function wrong(at, why)
    error({ at = at, why = why }, 0)
end

local function behind_space(text, at)
    return text:find("[^ \t\r\n]", at) or #text + 1
end

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

-- The character that the escape at `at` stands for, and where it ends.
local function read_escape(text, at)
    local letter = text:sub(at + 1, at + 1)
    local unit = letter == "u" and text:match("^%x%x%x%x", at + 2)
    local code = unit and tonumber(unit, 16)
    if code and code >= 0xD800 and code < 0xDC00 then
        local low = text:match("^\\u([dD][c-fC-F]%x%x)", at + 6)
        if not low then
            wrong(at, "half a surrogate pair")
        end
        return utf8_of(0x10000 + (code - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00), at + 12
    elseif code and code >= 0xDC00 and code < 0xE000 then
        wrong(at, "half a surrogate pair")
    elseif code then
        return utf8_of(code), at + 6
    elseif not ESCAPES[letter] then
        wrong(at, "no escape of JSON")
    end
    return ESCAPES[letter], at + 2
end

-- The string whose quote is at `at`, unescaped, and where it ends.
local function read_string(text, at)
    local pieces = {}
    at = at + 1
    while true do
        local stop = text:find('[%z\1-\31"\\]', at) or wrong(#text + 1, "a string without its end")
        pieces[#pieces + 1] = text:sub(at, stop - 1)
        local octet = text:sub(stop, stop)
        if octet == '"' then
            return table.concat(pieces), stop + 1
        elseif octet ~= "\\" then
            wrong(stop, "a control character in a string")
        end
        pieces[#pieces + 1], at = read_escape(text, stop)
    end
end

local function read_number(text, at)
    local stop = text:match("^-?0()", at) or text:match("^-?[1-9]%d*()", at) or wrong(at, "no value of JSON")
    if text:find("^%.", stop) then
        stop = text:match("^%.%d+()", stop) or wrong(stop, "no digits behind the point")
    end
    if text:find("^[eE]", stop) then
        stop = text:match("^[eE][+-]?%d+()", stop) or wrong(stop, "no digits in the exponent")
    end
    return stop
end

local read_items

-- The value at `at`: its type, what it is (a string or a boolean), and where it ends.
local function read_value(text, at, depth)
    local first = text:sub(at, at)
    if first == '"' then
        return "string", read_string(text, at)
    elseif first == "{" then
        return "object", read_items(text, at, depth + 1, "}")
    elseif first == "[" then
        return "array", read_items(text, at, depth + 1, "]")
    elseif text:find("^true", at) then
        return "boolean", true, at + 4
    elseif text:find("^false", at) then
        return "boolean", false, at + 5
    elseif text:find("^null", at) then
        return "null", nil, at + 4
    end
    return "number", nil, read_number(text, at)
end

-- The object or array at `at`: its members or elements, and where it ends.
function read_items(text, at, depth, close)
    if depth > MAX_DEPTH then
        wrong(at, "nested more than " .. MAX_DEPTH .. " deep")
    end
    local items = {}
    at = behind_space(text, at + 1)
    if text:sub(at, at) == close then
        return items, at + 1
    end
    while true do
        local item = { at = at }
        if close == "}" then
            if text:sub(at, at) ~= '"' then
                wrong(at, "no key")
            end
            item.key, at = read_string(text, at)
            at = behind_space(text, at)
            if text:sub(at, at) ~= ":" then
                wrong(at, "no `:` behind the key")
            end
            at = behind_space(text, at + 1)
        end
        item.value_at = at
        item.type, item.value, at = read_value(text, at, depth)
        item.stop = at
        item.text = text:sub(item.value_at, at - 1)
        items[#items + 1] = item
        at = behind_space(text, at)
        local mark = text:sub(at, at)
        if mark == close then
            return items, at + 1
        elseif mark ~= "," then
            wrong(at, "neither `,` nor `" .. close .. "`")
        end
        at = behind_space(text, at + 1)
    end
end

-- The members of the object that is all of `text`.
local function read_object(text)
    local at = not_utf8(text)
    if at then
        wrong(at, "not UTF-8")
    end
    at = behind_space(text, 1)
    if text:sub(at, at) ~= "{" then
        wrong(at, "not a JSON object")
    end
    local members, stop = read_items(text, at, 1, "}")
    if behind_space(text, stop) <= #text then
        wrong(behind_space(text, stop), "something behind the object")
    end
    return members
end

-- Headers -------------------------------------------------------------------------------------------------------------

-- Whether the digits are a number up to `most`: as text, since Lua's numbers are not exact up there.
local function up_to(digits, most)
    return #digits < #most or #digits == #most and digits <= most
end

-- These read a member of a header: its value; nil if it is of another type or out of range.

local function unsigned(most, number)
    return function(member)
        local digits = member.text:match("^%d+$")
        return digits and up_to(digits, most) and number(digits) or nil
    end
end

local u32, u64 = unsigned("4294967295", tonumber), unsigned("18446744073709551615", UInt64.new)
local permissions = unsigned("511", tonumber)

local function status(member)
    local sign, digits = member.text:match("^(-?)(%d+)$")
    local fits = digits and up_to(digits, sign == "-" and "2147483648" or "2147483647")
    return fits and tonumber(member.text) or nil
end

-- A string that passes the check, if there is one.
local function string_with(check)
    return function(member)
        local fits = member.type == "string" and (not check or check(member.value))
        return fits and member.value or nil
    end
end

local function boolean(member)
    if member.type == "boolean" then
        return member.value
    end
end

local text = string_with()
local filename = string_with(function(name) return #name <= MAX_FILENAME end)
local digest = string_with(function(hex) return #hex == 64 and hex:find("^[0-9a-f]+$") end)
local stream = string_with(function(name) return name == "stdout" or name == "stderr" end)

-- The known keys: how their values are read, in requests or replies alone, and as which field.
local KEYS = {
    { "total_size", u64, nil, ProtoField.uint64 },
    { "op", text, "request", ProtoField.string },
    { "id", u32, nil, ProtoField.uint32 },
    { "filename", filename, "request", ProtoField.string },
    { "overwrite", boolean, "request", ProtoField.bool },
    { "mode", permissions, "request", ProtoField.uint16 },
    { "mtime_ns", u64, "request", ProtoField.uint64 },
    { "sha256", digest, nil, ProtoField.string },
    { "timeout_ms", u64, "request", ProtoField.uint64 },
    { "more", boolean, "reply", ProtoField.bool },
    { "offset", u64, nil, ProtoField.uint64 },
    { "stream", stream, "reply", ProtoField.string },
    { "exit", status, "reply", ProtoField.int32 },
    { "error", text, "reply", ProtoField.string },
    { "message", text, "reply", ProtoField.string },
    { "retry_after_ms", u32, "reply", ProtoField.uint32 },
}

local fields = {
    prefix = ProtoField.int32("unstick.prefix", "Prefix"),
    header = ProtoField.string("unstick.header", "Header", base.UNICODE),
    member = ProtoField.string("unstick.member", "Unknown key", base.UNICODE),
    key = ProtoField.string("unstick.member.key", "Key", base.UNICODE),
    value = ProtoField.string("unstick.member.value", "Value", base.UNICODE),
    body = ProtoField.bytes("unstick.body", "Body"),
    text = ProtoField.string("unstick.body.text", "Text", base.UNICODE),
    place = ProtoField.uint64("unstick.body.offset", "Octets of the body before these"),
}
local known = {}
for _, key in ipairs(KEYS) do
    local name, read, side, kind = key[1], key[2], key[3], key[4]
    known[name] = { read = read, side = side, field = kind("unstick." .. name, name) }
    fields["key " .. name] = known[name].field
end
unstick.fields = fields

-- Whether it asks for something or, as those who chat do, says something; else it answers, unless it goes to a server.
local function side_of(pinfo, header)
    local to_server = pinfo.match_uint == pinfo.dst_port and pinfo.src_port ~= pinfo.dst_port
    return (header.op or to_server) and "request" or "reply"
end

-- What the text of a header says: its members, and of the known keys the values; `wrong` if a server would refuse it.
local function read_header(text, pinfo)
    local header = { members = {}, values = {} }
    local fine, members = pcall(read_object, text)
    if not fine then
        if type(members) ~= "table" then
            error(members, 0)
        end
        header.wrong = ("%s (octet %d of the header)"):format(members.why, members.at - 1)
        return header
    end
    header.members = members
    for _, member in ipairs(members) do
        header.op = header.op or member.key == "op"
    end
    header.side = side_of(pinfo, header)
    local seen = {}
    for _, member in ipairs(members) do
        local key = known[member.key]
        member.known = key and (not key.side or key.side == header.side) and key
        if member.known then
            local value = key.read(member)
            local absent = member.type == "null" and member.key ~= "total_size" and key.read ~= boolean
            if seen[member.key] then
                header.wrong = "`" .. member.key .. "` is there twice"
            elseif value == nil and not absent then
                header.wrong = "`" .. member.key .. "` is of another type, or out of range"
            end
            seen[member.key], member.read = true, value
            header.values[member.key] = value
        end
    end
    if not seen.total_size then
        header.wrong = header.wrong or "there is no `total_size`"
    end
    return header
end

local function show_header(tree, range, header)
    for _, member in ipairs(header.members) do
        local all = range(member.at - 1, member.stop - member.at)
        local value = member.read
        if value == nil then
            local item = tree:add(fields.member, all, printable(member.key .. ": " .. member.text))
            item:add(fields.key, all, printable(member.key))
            item:add(fields.value, range(member.value_at - 1, #member.text), printable(member.text))
        else
            tree:add(member.known.field, all, type(value) == "string" and printable(value) or value)
        end
    end
end

-- What a frame is, in a few words.
local function summary(header)
    local values = header.values
    local words = { header.side == "request" and (values.op or "request without op") or "reply" }
    if values.error then
        words = { "error " .. values.error }
    end
    if values.id then
        words[1] = words[1] .. " #" .. tostring(values.id)
    end
    if values.error then
        return printable(words[1] .. (values.message and ": " .. values.message or ""))
    end
    words[#words + 1] = values.filename
    words[#words + 1] = values.stream
    words[#words + 1] = tostring(values.total_size) .. " octets"
    words[#words + 1] = values.exit and "exit " .. values.exit
    words[#words + 1] = values.more and "more" or nil
    return printable(table.concat(words, ", "))
end

-- Frames --------------------------------------------------------------------------------------------------------------

-- Puts it into the column Info, behind what the packet has there already.
local function tell(pinfo, words)
    if pinfo.private.unstick then
        pinfo.cols.info:append("; " .. words)
    else
        pinfo.cols.info:set(words)
        pinfo.private.unstick = "told"
    end
end

local function complain(pinfo, item, kind, words)
    item:add_proto_expert_info(kind, printable(words))
    tell(pinfo, (kind == bad and "not a frame: " or "cut: ") .. printable(words))
end

-- Shows what the capture has of `len` octets of a body.
local function show_body(tree, tvb, at, len)
    len = math.min(len, tvb:len() - at)
    if len > 0 then
        local range = tvb(at, len)
        local octets = range:raw()
        tree:add(fields.body, range)
        if not not_utf8(octets) then
            tree:add(fields.text, range, printable(octets, "\n\t"))
        end
    end
end

-- Shows the frame at `at`. Returns where it ends, and what of its body is to follow in later segments; or, if it is to be
-- shown once there is more of it, how many octets more.
local function show_frame(tvb, at, pinfo, tree, may_wait)
    local here, captured = tvb:reported_len() - at, tvb:len() - at
    local length = captured >= 4 and tvb(at, 4):le_int() or nil
    local sound = length and length >= 1 and length <= MAX_HEADER
    -- To the octet only once that is the frame's end: Wireshark loses parts of what is asked to go on again.
    if may_wait and (here < 4 or sound and here < 4 + length) then
        return nil, DESEGMENT_ONE_MORE_SEGMENT
    end
    local range = sound and captured >= 4 + length and tvb(at + 4, length)
    local header = range and read_header(range:raw(), pinfo)
    local size = header and not header.wrong and header.values.total_size or 0
    local total = tonumber(tostring(size))
    local len = 4 + (length or 0) + total
    if may_wait and header and here < len and total <= unstick.prefs.reassemble then
        return nil, len - here
    end

    local item = tree:add(unstick, tvb(at))
    if not length then
        complain(pinfo, item, cut, "inside the prefix")
        return at + here
    end
    local prefix = item:add_le(fields.prefix, tvb(at, 4))
    if not sound then
        local fault = length < 1 and "a header's length is at least 1" or "no server takes a header as long"
        complain(pinfo, prefix, bad, ("the prefix is %d: %s"):format(length, fault))
        return at + here
    elseif not header then
        complain(pinfo, item, cut, "inside the header")
        return at + here
    end
    item:set_len(math.min(len, captured))
    local shown = item:add(fields.header, range, printable(in_utf8(range:raw())))
    show_header(shown, range, header)
    if header.wrong then
        complain(pinfo, shown, bad, header.wrong)
        return at + here
    end
    item:append_text(": " .. summary(header))
    tell(pinfo, summary(header))
    if header.values.error then
        item:add_proto_expert_info(refusal, summary(header))
    end
    show_body(item, tvb, at + 4 + length, math.min(total, here - 4 - length))
    if here >= len then
        return at + len
    end
    local part = ("%d of %s octets of the body are here"):format(here - 4 - length, tostring(size))
    if pinfo.port_type == TCP then
        item:add_proto_expert_info(apart, part)
    else
        complain(pinfo, item, cut, part)
    end
    return at + here, { place = here - 4 - length, left = len - here, size = tostring(size) }
end

-- Streams -------------------------------------------------------------------------------------------------------------

-- Nil while Wireshark reads a file for the first time without showing anything: then octets are counted all the same, but
-- none are missed.
local stream_field, seq_field, len_field = Field.new("tcp.stream"), Field.new("tcp.seq"), Field.new("tcp.len")

-- What is to follow of a body in a direction of a connection; and, for those who look at a packet again, what was to
-- follow where it begins.
local directions, begun = {}, {}

function unstick.init()
    directions, begun = {}, {}
end

-- What is left of a body once `len` octets more of it have passed.
local function behind(rest, len)
    if len < rest.left then
        return { place = rest.place + len, left = rest.left - len, size = rest.size }
    end
end

-- What of a body this packet begins inside of, and the direction to note in what is to follow.
local function resume(tvb, pinfo)
    local name = ("%s %s %d"):format(tostring((stream_field())), tostring(pinfo.src), pinfo.src_port)
    local packet = ("%d %d %d"):format(pinfo.number, tvb:offset(), tvb:len())
    local direction = directions[name] or {}
    directions[name] = direction
    if not pinfo.visited then
        local seq = seq_field()
        if seq then
            local lost = direction.next and (seq.value - direction.next) % 2 ^ 32 or 0
            -- Octets that the capture does not have are of the body too.
            if direction.rest and lost > 0 and lost < 2 ^ 31 then
                direction.rest = behind(direction.rest, lost)
            end
            direction.next = (seq.value + len_field().value) % 2 ^ 32
        end
        begun[packet] = direction.rest
    end
    return begun[packet], direction
end

-- Shows the part that goes on with `rest` of a body.
local function show_part(tvb, pinfo, tree, rest)
    local len = math.min(rest.left, tvb:reported_len())
    local item = tree:add(unstick, tvb(0, math.min(len, tvb:len())))
    local place = UInt64.new(("%.0f"):format(rest.place))
    local words = ("octets %s to %.0f of a body of %s"):format(tostring(place), rest.place + len - 1, rest.size)
    item:append_text(": " .. words)
    item:add(fields.place, place):set_generated()
    tell(pinfo, words)
    show_body(item, tvb, 0, len)
    return len, behind(rest, len)
end

function unstick.dissector(tvb, pinfo, tree)
    pinfo.cols.protocol = "unstick"
    local len, at = tvb:reported_len(), 0
    if tvb:len() == 0 then
        return
    elseif pinfo.port_type ~= TCP then
        at = show_frame(tvb, 0, pinfo, tree, false)
        if at < tvb:len() then
            complain(pinfo, tree:add(unstick, tvb(at)), bad, "octets behind the frame: a datagram is one")
        end
        return
    end
    local rest, direction = resume(tvb, pinfo)
    if rest then
        at, rest = show_part(tvb, pinfo, tree, rest)
    end
    local wait
    while at < len and at < tvb:len() and not wait do
        local stop, more = show_frame(tvb, at, pinfo, tree, pinfo.can_desegment > 0)
        if stop then
            at, rest = stop, more
        else
            wait = more
            pinfo.desegment_offset, pinfo.desegment_len = at, wait
        end
    end
    if not pinfo.visited then
        direction.rest = rest
    end
end

-- Whether a stream of octets or a datagram begins with a whole header that says more than a length.
local function is_unstick(tvb, pinfo, tree)
    if tvb:len() < 5 then
        return false
    end
    local length = tvb(0, 4):le_int()
    if length < 1 or length > tvb:len() - 4 or length > MAX_HEADER then
        return false
    end
    local header = read_header(tvb(4, length):raw(), pinfo)
    local values = header.values
    if header.wrong or not (values.op or values.id or values.error or values.more) then
        return false
    end
    if pinfo.port_type == TCP then
        pinfo.conversation = unstick
    end
    unstick.dissector(tvb, pinfo, tree)
    return true
end

unstick:register_heuristic("tcp", is_unstick)
unstick:register_heuristic("udp", is_unstick)

local ports
local function listen()
    for _, name in ipairs({ "tcp.port", "udp.port" }) do
        local transport = DissectorTable.get(name)
        if ports then
            transport:remove(ports, unstick)
        end
        transport:add(unstick.prefs.ports, unstick)
    end
    ports = unstick.prefs.ports
end
unstick.prefs_changed = listen
listen()
