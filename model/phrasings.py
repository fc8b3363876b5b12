"""What callers say, in how many ways: every wording of every intent, trained ones and held-out ones.

Held-out wordings are never trained on: they serve evaluation alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Intent(Enum):
    """What a caller's turn asks for."""

    ORDER = "order"
    CHANGE = "change"  # of the order that was just read back or confirmed
    YES = "yes"
    NO = "no"
    NUMBER = "number"  # leaves a telephone number
    HOURS = "hours"
    WHERE = "where"
    PERSON = "person"
    REPEAT = "repeat"
    CANCEL = "cancel"
    STATUS = "status"  # of an order: nothing that the order line knows
    GOODBYE = "goodbye"
    OTHER = "other"  # nothing that the order line is for
    UNCLEAR = "unclear"  # no sentence at all
    BACKCHANNEL = "backchannel"  # "mhm": I am listening, go on


class Tone(Enum):
    """How a caller speaks all through the call."""

    CALM = "calm"
    HURRIED = "hurried"
    ANGRY = "angry"
    WHISPER = "whisper"


@dataclass(frozen=True)
class Phrasings:
    """Wordings of one kind; the held-out ones serve evaluation alone."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def of(self, *, held_out: bool) -> tuple[str, ...]:
        """One side of them."""
        return self.held_out if held_out else self.train


# ORDER, CHANGE and BACKCHANNEL are not here: the first two are put together, the last has a handful of words.
# fmt: off
PHRASINGS: dict[Intent, Phrasings] = {
    Intent.YES: Phrasings(
        ("yes", "yes please", "yeah", "yep", "that's right", "correct", "yes that's right",
         "yes it is", "yeah sure", "sure", "right", "that is correct", "yes correct", "exactly",
         "yes thank you", "yeah that's right", "yup", "yes that is right", "perfect", "sounds good",
         "okay", "okay yes", "yes exactly", "absolutely", "yes that's fine", "yes perfect",
         "that is fine", "of course", "yes I do", "right yes", "yes you got it", "that's it yes",
         "that's fine", "yep that's right", "uh yes please", "yeah that works"),
        ("yes that's correct", "yeah please", "yes that's the one", "yep correct"),
    ),
    Intent.NO: Phrasings(
        ("no", "no thanks", "no thank you", "nope", "no that's wrong", "that's wrong",
         "no it's not", "not right", "no that's not right", "nah", "no that is wrong", "no sorry",
         "wrong", "that is not right", "no nothing", "no that's it", "no that's all", "no not that",
         "no that's not what I said", "no I said something else", "I didn't say that", "no no",
         "nothing else", "no thanks that's all", "not really", "no you got it wrong", "no I don't",
         "no that's wrong sorry", "nope that's not it at all", "no I'm fine", "no that will be all",
         "I'm good thanks"),
        ("no that's not it", "nope thanks", "no that's everything", "no that is not what I want"),
    ),
    Intent.HOURS: Phrasings(
        ("when are you open", "what are your opening hours", "what time do you open",
         "what time do you close", "how late are you open", "are you open today",
         "when do you close", "what are your hours", "are you open on sunday",
         "until when are you open", "when do you open", "tell me your opening hours",
         "what hours are you open", "are you still open", "how long are you open today",
         "can you tell me when you open", "could you tell me the opening times",
         "what are your opening times", "do you open on saturday", "are you open tomorrow",
         "when do you close today", "what time do you open in the morning",
         "how late do you stay open", "tell me your hours please",
         "I want to know your opening hours", "what time do you close tonight", "are you open now",
         "can I ask for your hours", "what are the times you are open",
         "do you know when you close", "at what time do you close", "how early do you open",
         "are you open at the weekend"),
        ("can you tell me your hours", "when do you open today", "what are the opening hours",
         "until what time are you open", "is the shop open on saturday"),
    ),
    Intent.WHERE: Phrasings(
        ("where are you", "what is your address", "where is the shop", "where are you located",
         "how do I find you", "how do I get there", "what street are you on",
         "can you tell me the address", "where is your store", "where can I find you",
         "what's the address", "give me your address", "which street are you on",
         "tell me where you are", "where do I pick it up", "could you tell me where the shop is",
         "can you give me the address please", "what's your address", "where is the coffee shop",
         "how can I find you", "where are you exactly", "I want to know where you are",
         "tell me your address", "where do I find you", "how do I get to the shop",
         "what is the street", "can I ask for your address", "do you know the address",
         "what part of town are you in", "whereabouts are you", "how would I find the shop",
         "in which street are you"),
        ("can you tell me where you are", "what is the address", "where is your shop",
         "how do I get to you", "which street is the shop on"),
    ),
    Intent.PERSON: Phrasings(
        ("can I talk to a person", "I want to speak to a human", "let me talk to someone",
         "connect me to a person", "can I speak to somebody", "get me a human",
         "I'd like to talk to a real person", "put me through to someone",
         "I want to talk to the manager", "can I speak with a person please", "talk to a person",
         "give me a real person", "is there a human I can talk to", "transfer me to a person",
         "I need to speak to somebody", "can I speak to a real person", "I need a person",
         "could I talk to someone", "I would like to speak to somebody",
         "could you put me through to a person", "let me speak to the manager",
         "is there somebody I can speak to", "please connect me with someone", "I want a human",
         "can you get me a person please", "is anybody there I can talk to",
         "I don't want to talk to a machine", "somebody real please", "can I have a person",
         "human please", "agent please"),
        ("can I talk to a human", "I want to talk to a real person", "let me speak to a person",
         "could I speak to a human please", "I need to talk to someone"),
    ),
    Intent.REPEAT: Phrasings(
        ("can you repeat that", "say that again", "what did you say", "sorry what was that",
         "pardon", "can you say that again please", "repeat that please", "I did not hear you",
         "come again", "sorry I didn't get that", "excuse me what", "one more time please",
         "could you repeat that", "what was that", "I'm sorry can you say that one more time",
         "sorry could you repeat", "what was that again", "can you repeat it please",
         "I didn't catch that", "sorry what", "please repeat", "repeat that",
         "could you say it again please", "say it again please", "can you say it once more", "what",
         "once more please", "I missed that", "sorry I missed that",
         "could you please repeat what you said", "hm what was that"),
        ("please say that again", "sorry can you repeat that", "could you say that again",
         "can you say that one more time", "sorry say that again please"),
    ),
    Intent.GOODBYE: Phrasings(
        ("goodbye", "bye", "bye bye", "thanks bye", "thank you goodbye", "that's all bye",
         "okay bye", "see you", "thank you bye", "have a nice day", "okay thank you goodbye",
         "that's it goodbye", "thanks goodbye", "alright bye", "see you later", "bye for now",
         "okay goodbye", "thank you bye bye", "thanks that's all goodbye", "great thanks bye",
         "see you then bye", "well goodbye", "that's everything bye", "thank you have a good day",
         "okay then bye", "good night", "talk to you later bye", "perfect thanks goodbye",
         "bye then", "goodbye now", "see you soon", "take care", "thanks then bye", "well bye then",
         "cheers bye", "thank you and goodbye", "that was all bye", "have a good one"),
        ("goodbye then", "alright thanks bye", "bye now", "thanks a lot goodbye",
         "okay see you later bye"),
    ),
    Intent.CANCEL: Phrasings(
        ("cancel my order", "cancel that", "please cancel the order", "never mind", "forget it",
         "forget about it", "I want to cancel", "I'd like to cancel my order",
         "can you cancel that please", "scrap that", "scrap the order", "cancel everything",
         "I changed my mind cancel it", "never mind the order", "could you cancel my order",
         "drop the order", "I don't want it anymore", "I don't want anything", "leave it",
         "please cancel it", "can I cancel my order", "cancel it please", "actually cancel that",
         "stop the order", "take it off", "never mind then", "I need to cancel"),
        ("can you cancel the order", "oh never mind", "I would like to cancel that",
         "forget the order"),
    ),
    Intent.STATUS: Phrasings(
        ("where is my order", "is my order ready", "what about my order", "is my coffee ready yet",
         "how long will my order take", "can you check on my order",
         "what is the status of my order", "I ordered an hour ago", "has my order been made",
         "when will my order be ready", "is my drink ready", "I'm waiting for my order",
         "did you get my order from this morning", "how far is my order",
         "could you check my order", "I'm calling about my order", "is it ready yet",
         "where is my coffee", "do you have my order", "my order has not come",
         "I placed an order earlier", "how is my order coming along", "can you look up my order",
         "is the order from yesterday done", "any news on my order", "tell me about my order",
         "I want to know if my order is ready"),
        ("can you tell me if my order is ready", "what happened to my order",
         "how much longer for my order", "I ordered a while ago is it ready"),
    ),
    Intent.NUMBER: Phrasings(
        ("my number is", "you can call me at", "you can reach me at", "my phone number is", "it's",
         "the number is", "call me back at", "take down my number", "here is my number",
         "my telephone number is", "call me on", "I'm at", "please write down",
         "the phone number is", "you can text me at", "note my number", "it is",
         "let me give you my number", "my number", "reach me on", "can I leave my number",
         "my cell is", "I want to leave my number it's", "for the order my number is", "put down"),
        ("you'll reach me on", "I can be reached at", "please note my number it's",
         "can I give you my number it's"),
    ),
    Intent.UNCLEAR: Phrasings(
        ("uh", "um", "hm", "I uh", "so the uh", "um the", "and then uh", "what was I",
         "could you uh", "I was um", "hm let me", "uh the thing", "so um yeah the", "well uh",
         "I think um", "you know the", "er", "er I um", "can you um", "the uh the", "sort of um",
         "like uh", "I mean um", "hang on uh", "it's the um"),
        ("um so uh", "the um thing", "uh I just", "and uh"),
    ),
    Intent.OTHER: Phrasings(
        ("the weather is lovely in the mountains", "my sister bought a new bicycle",
         "do you sell train tickets", "I lost my umbrella last week", "how much is a pizza",
         "can you fix my computer", "who won the football game", "we painted the kitchen blue",
         "is there a doctor on the plane", "the library has many books",
         "what is the capital of france", "please water the flowers", "he walked along the river",
         "my phone is broken", "turn on the lights", "play some music",
         "they went to school by bus", "what day is it tomorrow", "do you have any jobs",
         "can you call me a taxi", "I want to book a flight", "tell me a joke",
         "how tall is the tower", "do you sell shoes", "can you help me with my homework",
         "what is the weather like", "I need a plumber", "what's the time in tokyo",
         "can I pay my phone bill", "do you repair bicycles", "who is the president",
         "is the train late", "can you recommend a film"),
        ("can you book a hotel for me", "the dog ran across the field", "do you rent out cars",
         "what is two times seven"),
    ),
}

BACKCHANNELS = ("mhm", "uh huh", "okay", "right", "yeah")
HESITATIONS = ("um", "uh")
ORDER_OPENERS = Phrasings(
    ("can I get", "can I have", "I want", "get me", "give me", "I'd like", "make me", "may I have",
     "could I get", "I'll have", "I'll take", "could I have", "I would like", "I need", "brew",
     "please give me", "one", "just", "I'd love", "I'll get", "let me get", "can you make me",
     "I'm looking for", "I wanted", "could I order", "I'd like to order"),
    ("let me have", "I'd like to get", "please make me", "could you make me"),
)
CHANGE_FRAMES = Phrasings(
    ("no {}", "make it {}", "make that {} please", "actually {}", "actually {} please", "{} instead",
     "{} instead please", "can you make it {}", "no sorry {}", "no I said {}", "no I wanted {}",
     "sorry {}", "sorry make it {}", "could you make that {}", "I'd like {} instead", "no make it {}",
     "wait {}", "no wait {}", "no please {}", "can I get {} instead", "no not that {}",
     "actually make that {}",     "please make it {}", "can I have {} instead", "sorry I meant {} instead"),
    ("no no {}", "wait make that {}", "could I get {} instead", "actually no {}"),
)
# Only where no drink is named: with one they are orders.
ADDITION_FRAMES = Phrasings(
    ("and {}", "and {} please", "also {}", "{} please", "oh and {}", "{} thanks", "and can I have it {}"),
    ("{} as well", "plus {}"),
)
REMOVAL_FRAMES = Phrasings(
    ("no {}", "no {} please", "without {}", "without {} please", "hold the {}", "leave out the {}",
     "actually no {}", "sorry no {}", "make it without {}", "skip the {}", "can you leave out the {}",
     "without any {} please", "no {} thanks", "I said no {}"),
    ("could I have it without {}", "please hold the {}"),
)
CORRECTIONS = Phrasings(
    ("no", "sorry", "no wait", "I mean", "no sorry", "uh no", "oh no", "sorry I mean"),
    ("wait no", "no I mean"),
)
LEAD_INS = Phrasings(
    ("", "", "", "", "", "hi ", "hello ", "um ", "yes hi ", "okay ", "uh ", "well ", "hey ", "good morning "),
    ("", "", "", "", "hello um ", "oh hi ", "so "),
)
TONE_LEAD_INS = {
    Tone.HURRIED: Phrasings(
        ("quick ", "I'm in a hurry ", "quickly please ", "I have no time ", "fast please ",
         "just quickly "),
        ("real quick ", "I'm in a rush "),
    ),
    Tone.ANGRY: Phrasings(
        ("come on ", "this is ridiculous ", "for heaven's sake ", "oh come on ", "listen ",
         "I've had enough ", "I've been waiting forever "),
        ("are you kidding me ", "unbelievable "),
    ),
}
TAILS = ("", "", "", " please", " thanks", " please")
# fmt: on
